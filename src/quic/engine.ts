/**
 * The interface between libp2p and QUIC. An engine speaks QUIC v1 (RFC 9000) with mutual TLS 1.3 and the
 * ALPN `libp2p`; it knows nothing of peer ids, multiaddrs or protocols. Three engines implement it:
 * the folders `quinn/`, `node/` and `quiche/`; nothing above this folder knows which one runs.
 */

import type { CloseReason } from '../close-reason.ts';
import type { ConnectionMemory } from '../connection-memory.ts';
import type { ConnectionStats } from '../connection-stats.ts';
import type { PendingPool } from '../pending-pool.ts';
import type { SocketAddress } from '../socket-address.ts';
import type { Stream } from '../stream.ts';
import type { TlsCredentials } from '../tls/credentials.ts';
import type { EngineName } from './engine-name.ts';
import type { QuicLimits } from './limits.ts';

export interface QuicEngine {
  readonly name: EngineName;

  /** The limits that it cannot honour: setting them has no effect. */
  readonly lacks: readonly (keyof QuicLimits)[];

  /**
   * Whether it can dial (`DialOptions.from`) and send datagrams from a listener's socket. Hole punching needs
   * that: a NAT maps each socket separately.
   */
  readonly dialsFromListener: boolean;

  /**
   * Binds one UDP socket and accepts connections on it.
   *
   * @throws ERR_LISTEN when the socket cannot be bound; ERR_OPTIONS for a limit that is unknown or out of range.
   */
  listen(options: ListenOptions): Promise<QuicListener>;

  /**
   * Opens a connection. Resolves when the handshake is complete and `authenticate` accepted the
   * listener's certificate. The listener may still refuse ours afterwards: the connection then ends
   * with its reason.
   *
   * @throws ERR_DIAL, ERR_HANDSHAKE, ERR_TIMEOUT, ERR_ABORTED; ERR_OPTIONS for a limit that is unknown or out of
   * range; whatever `authenticate` threw.
   */
  dial(remote: SocketAddress, options: DialOptions): Promise<QuicConnection>;
}

/**
 * Verifies the peer's certificate chain (DER, leaf first; empty when it sent none); throws to refuse it.
 * Engines call it once per connection, when the handshake is complete and before any stream data is
 * passed on. When it throws, the engine closes the connection with TLS alert bad_certificate
 * (CRYPTO_ERROR 0x12a) and the error's message as the reason.
 */
export type Authenticate = (chain: readonly Uint8Array[]) => void;

export interface EngineOptions {
  readonly credentials: TlsCredentials;
  readonly authenticate: Authenticate;
  readonly limits?: Partial<QuicLimits>;
}

export interface ListenOptions extends EngineOptions {
  readonly address: SocketAddress;
  /** Called with every connection whose peer was authenticated. Must not throw. */
  readonly onConnection: (connection: QuicConnection) => void;
  /** Called when a connection was refused or its handshake failed, for logs. `remote`: where its packets came from. */
  readonly onRefused?: (error: Error, remote: SocketAddress) => void;
  /** Counts pending handshakes together with those of other listeners. */
  readonly pendingPool?: PendingPool;
}

export interface DialOptions extends EngineOptions {
  /**
   * Aborts the dial. If given, it alone limits the duration of the handshake: on a lossy path that is many
   * round trips, as every loss doubles the probe timeout (RFC 9002 section 6.2).
   */
  readonly signal?: AbortSignal;
  /**
   * A listener of this engine: the dial leaves from its socket, and the connection ends when that closes.
   * Only where the engine `dialsFromListener`; others throw ERR_UNSUPPORTED.
   */
  readonly from?: QuicListener;
}

export interface QuicListener {
  /** With the port that was actually bound. */
  readonly address: SocketAddress;
  /**
   * Sends a datagram that is not a QUIC packet: it makes a NAT on our side accept packets from `remote`. It
   * is dropped if it cannot be sent at once. Only where the engine `dialsFromListener`. Never throws.
   */
  sendDatagram?(remote: SocketAddress, data: Uint8Array): void;
  /** Closes every connection (CONNECTION_CLOSE is sent), then the socket. Idempotent; never rejects. */
  close(): Promise<void>;
}

/** A QUIC connection whose peer passed `authenticate`. The members are those of `TransportConnection`. */
export interface QuicConnection {
  readonly localAddress: SocketAddress;
  readonly remoteAddress: SocketAddress;
  /** The peer's certificate, DER. */
  readonly peerCertificate: Uint8Array;
  openStream(signal?: AbortSignal): Promise<Stream>;
  acceptStream(): Promise<Stream | null>;
  close(code?: number, reason?: string): Promise<void>;
  readonly closed: Promise<CloseReason>;
  readonly memory: ConnectionMemory;
  stats?(): ConnectionStats | undefined;
}

export const ALPN = 'libp2p';

/** The transport error code with which a listener refuses a connection (RFC 9000 section 20.1). */
export const CONNECTION_REFUSED = 0x2;

/** Traces for debugging. */
export interface QuicTrace {
  /** A file that TLS secrets are appended to, in NSS format: they decrypt everything that was sent. */
  readonly keyLog?: string;
  /** Bytes of that file, whoever wrote them; once it has as many, nothing is appended. Default 1 GiB. */
  readonly maxKeyLogBytes?: number;
  /** A directory for qlog traces, one file per connection. The engine quiche writes none. */
  readonly qlog?: string;
  /**
   * Files of qlog traces that this process makes at most, default 1,000: connections beyond that are not traced. Each first
   * packet of a peer makes one.
   */
  readonly maxQlogFiles?: number;
  /** Bytes of all of them together at most, default 1 GiB: what is beyond that is not written. */
  readonly maxQlogBytes?: number;
}

/** TLS alert bad_certificate as a QUIC transport error (RFC 9001 section 4.8). */
export const BAD_CERTIFICATE = 0x12a;
