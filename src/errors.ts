import { printable } from './printable.ts';

/**
 * The one error type of this project. `code` is stable and meant for programs; `message` is one
 * clear line meant for people.
 */
export class LeanError extends Error {
  override readonly name = 'LeanError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export type ErrorCode =
  // identity
  | 'ERR_KEY_MALFORMED'
  | 'ERR_KEY_TYPE'
  | 'ERR_PEER_ID_MALFORMED'
  | 'ERR_PEER_ID_MISMATCH'
  // libp2p TLS certificates (libp2p/specs tls/tls.md)
  | 'ERR_CERT_MISSING'
  | 'ERR_CERT_COUNT'
  | 'ERR_CERT_MALFORMED'
  | 'ERR_CERT_NOT_YET_VALID'
  | 'ERR_CERT_EXPIRED'
  | 'ERR_CERT_SELF_SIGNATURE'
  | 'ERR_CERT_NO_EXTENSION'
  | 'ERR_CERT_EXTENSION_MALFORMED'
  | 'ERR_CERT_EXTENSION_SIGNATURE'
  | 'ERR_CERT_EXTENSION_REPEATED'
  | 'ERR_CERT_UNKNOWN_CRITICAL'
  | 'ERR_CERT_ALGORITHM'
  | 'ERR_CERT_HOST_KEY'
  // addresses, connections and streams
  | 'ERR_ADDRESS'
  | 'ERR_UNSUPPORTED'
  | 'ERR_LISTEN'
  | 'ERR_DIAL'
  | 'ERR_WSS_CERTIFICATE'
  | 'ERR_HANDSHAKE'
  | 'ERR_CONNECTION_CLOSED'
  | 'ERR_STREAM_RESET'
  | 'ERR_STREAM_STOPPED'
  | 'ERR_STREAM_CLOSED'
  | 'ERR_STREAM_LIMIT'
  | 'ERR_CONCURRENT_READ'
  | 'ERR_EOF'
  | 'ERR_TIMEOUT'
  | 'ERR_ABORTED'
  // protocols
  | 'ERR_MESSAGE_TOO_LONG'
  | 'ERR_PROTOCOL_VIOLATION'
  | 'ERR_PROTOCOL_NOT_SUPPORTED'
  | 'ERR_PING_MISMATCH'
  /** A relay, or the peer behind it, refused. */
  | 'ERR_RELAY'
  /** An AutoNAT server refused to check our addresses, or answered incorrectly. */
  | 'ERR_AUTONAT'
  // options of the library's user
  | 'ERR_OPTIONS'
  // engines
  | 'ERR_ENGINE_UNAVAILABLE';

/** True when `error` is a {@link LeanError}, optionally with that code. */
export const isLeanError = (error: unknown, code?: ErrorCode): error is LeanError =>
  error instanceof LeanError && (code === undefined || error.code === code);

/** The longest message, in characters: a dial to many addresses reports an error for each. */
const MAX_MESSAGE = 2_000;

/** The message of anything thrown, as one line that is safe to print even if it contains a peer's text. */
export const messageOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error);
  const lines = text.slice(0, 2 * MAX_MESSAGE).split('\n');
  const line =
    lines.length === 1
      ? text
      : lines
          .map((it) => it.trim())
          .filter(Boolean)
          .join(' ');
  return printable(line, MAX_MESSAGE);
};

/** Anything thrown, as an Error. */
export const errorOf = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown));
