/** Maps our errors to js-libp2p's, which programs tell apart by `name`. */

import {
  AbortError,
  ConnectionClosedError,
  ConnectionFailedError,
  DialError,
  InvalidMultiaddrError,
  ListenError,
  TimeoutError,
  UnexpectedPeerError,
  UnsupportedProtocolError,
} from '@libp2p/interface';
import { type ErrorCode, errorOf, isLeanError } from '../errors.ts';

const MAKE: Partial<Record<ErrorCode, (message: string) => Error>> = {
  ERR_ABORTED: (message) => new AbortError(message),
  ERR_ADDRESS: (message) => new InvalidMultiaddrError(message),
  ERR_CONNECTION_CLOSED: (message) => new ConnectionClosedError(message),
  ERR_DIAL: (message) => new DialError(message),
  ERR_HANDSHAKE: (message) => new ConnectionFailedError(message),
  ERR_LISTEN: (message) => new ListenError(message),
  ERR_PEER_ID_MISMATCH: (message) => new UnexpectedPeerError(message),
  ERR_PROTOCOL_NOT_SUPPORTED: (message) => new UnsupportedProtocolError(message),
  ERR_TIMEOUT: (message) => new TimeoutError(message),
};

/** js-libp2p's error for `thrown`, which becomes its `cause`; `thrown` itself if there is none. */
export const libp2pErrorOf = (thrown: unknown): Error => {
  const error = errorOf(thrown);
  const make = isLeanError(error) ? MAKE[error.code] : undefined;
  if (make === undefined) return error;
  return Object.assign(make(error.message), { cause: error });
};

/**
 * The application error code to send for `error` (libp2p/specs error-codes): its `resetCode`, or its `code`
 * if that is a number; else 0.
 */
export const resetCodeOf = (error: unknown): number => {
  const { resetCode, code } = Object(error) as { resetCode?: unknown; code?: unknown };
  return [resetCode, code].find(isCode) ?? 0;
};

/** What a QUIC variable-length integer holds and a number holds exactly (RFC 9000 section 16). */
const isCode = (code: unknown): code is number => Number.isSafeInteger(code) && Number(code) >= 0;
