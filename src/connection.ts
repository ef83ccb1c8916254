/**
 * A connection to an authenticated peer: what QUIC gives at once, and what TCP gives after the
 * upgrade (secure channel, then muxer).
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { CloseReason } from './close-reason.ts';
import type { ConnectionMemory } from './connection-memory.ts';
import type { ConnectionStats } from './connection-stats.ts';
import type { PeerId } from './identity/peer-id.ts';
import type { Stream } from './stream.ts';

/** A side of a connection: the one that opened it, or the one that accepted it. */
export type Role = 'dialer' | 'listener';

/** How a connection goes through a relay (libp2p/specs relay/circuit-v2.md). */
export interface Circuit {
  readonly relay: PeerId;
  /** The limits that the relay announced; it resets the connection when one is reached. `undefined`: none. */
  readonly limit?: CircuitLimit | undefined;
}

/** A relay's limits for one connection; a missing one means unlimited. */
export interface CircuitLimit {
  /** Seconds. */
  readonly duration?: number | undefined;
  /** Bytes in each direction. */
  readonly data?: number | undefined;
}

/** What every connection has. */
export interface AuthenticatedConnection {
  /** Which side we are. */
  readonly role: Role;
  readonly localPeer: PeerId;
  /** Authenticated by the handshake. */
  readonly remotePeer: PeerId;
  /** Without `/p2p`. */
  readonly localAddress: Multiaddr;
  /** Without `/p2p`. */
  readonly remoteAddress: Multiaddr;
  /** How it was made, for logs: `quic-v1 (quiche)`, `tcp/noise/yamux`. */
  readonly description: string;
  /** The relay that it goes through; `undefined` for a direct connection. */
  readonly circuit?: Circuit | undefined;

  /**
   * Milliseconds from the dial's first packet, or from the accepted socket, until the peer was authenticated.
   * `undefined` for connections accepted over QUIC.
   */
  readonly handshakeTime?: number | undefined;

  /**
   * Closes the connection and all its streams at once, and notifies the peer. Resolves when that notice has
   * left this machine's socket. Idempotent; never rejects.
   *
   * @param code application error code, default 0: a normal end.
   * @param reason text for the peer; sent over QUIC only.
   */
  close(code?: number, reason?: string): Promise<void>;

  /** Resolves, never rejects, when the connection has ended, whoever ended it. */
  readonly closed: Promise<CloseReason>;

  /** Statistics so far, or those at its end. Only the QUIC engine quinn has them. */
  stats?(): ConnectionStats | undefined;
}

export interface NewStreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for the peer's stream limit, milliseconds; default 30,000. */
  readonly timeout?: number | undefined;
}

/** A connection as a node's user and protocol handlers see it. Disposing of it closes it. */
export interface Connection extends AuthenticatedConnection, AsyncDisposable {
  /**
   * Opens a stream for a protocol; waits while the peer's stream limit is reached.
   *
   * A single protocol is selected without waiting for the peer's answer (`selectLazily`), so that the first
   * payload leaves with the proposal: the stream's first `read()` throws ERR_PROTOCOL_NOT_SUPPORTED if
   * the peer refuses. Several protocols are proposed in turn; `stream.protocol` is the first one that the peer
   * accepts.
   *
   * @throws ERR_CONNECTION_CLOSED; ERR_ABORTED; ERR_TIMEOUT when the peer allows no stream in time; ERR_OPTIONS
   * when `protocols` is empty. For several protocols also what `select` throws: ERR_PROTOCOL_NOT_SUPPORTED when
   * the peer accepts none of them, and ERR_TIMEOUT.
   */
  newStream(
    protocols: string | readonly string[],
    options?: NewStreamOptions,
  ): Promise<ProtocolStream>;

  /** The memory that it uses, in bytes; `streams` is a count. */
  readonly memory: Readonly<
    Pick<ConnectionMemory, 'limit' | 'held' | 'peak' | 'unread' | 'unsent' | 'streams'>
  >;
}

/** A stream and the protocol that it was opened for. */
export type ProtocolStream = Stream & { readonly protocol: string };

/** A connection as a transport makes it. Only the node sees it, as only one party may accept its streams. */
export interface TransportConnection extends AuthenticatedConnection {
  /** Set by the party that dialled or accepted it. */
  handshakeTime?: number | undefined;

  /**
   * Opens a bidirectional stream; waits while the peer's stream limit is reached. The peer learns of
   * it with the first byte written.
   *
   * @throws ERR_CONNECTION_CLOSED, ERR_ABORTED.
   */
  openStream(signal?: AbortSignal): Promise<Stream>;

  /** The next stream that the peer opened, or `null` once the connection is closed. */
  acceptStream(): Promise<Stream | null>;

  readonly memory: ConnectionMemory;
}
