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

/** Which side of a connection somebody is: the one that opened it, or the one that took it. */
export type Role = 'dialer' | 'listener';

/** How a connection goes through a relay (libp2p/specs relay/circuit-v2.md). */
export interface Circuit {
  readonly relay: PeerId;
  /** The limits that the relay announced, at which it resets the connection; `undefined`: none. */
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
  /** This side's. */
  readonly role: Role;
  readonly localPeer: PeerId;
  /** Proven by the handshake. */
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
   * Milliseconds from its first packet (at a listener, from the open socket) until the peer was authenticated.
   * Listeners over QUIC do not know it.
   */
  readonly handshakeTime?: number | undefined;

  /**
   * Closes the connection and all its streams at once and tells the peer. Resolves when that has
   * left this machine's socket. Idempotent; never rejects.
   */
  close(code?: number, reason?: string): Promise<void>;

  /** Resolves, never rejects, when the connection has ended, whoever ended it. */
  readonly closed: Promise<CloseReason>;

  /** What it has done so far, or had done when it ended. Only the QUIC engine quinn counts that. */
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
   * the peer refuses. Several are proposed in turn, and the stream has the first one that the peer takes.
   *
   * @throws ERR_CONNECTION_CLOSED; ERR_ABORTED; ERR_TIMEOUT when the peer allows no stream in time; for
   * several protocols what `select` throws, ERR_PROTOCOL_NOT_SUPPORTED when the peer takes none of them, and
   * ERR_TIMEOUT; ERR_OPTIONS for none.
   */
  newStream(
    protocols: string | readonly string[],
    options?: NewStreamOptions,
  ): Promise<ProtocolStream>;

  /** The memory that it uses; bytes. */
  readonly memory: Readonly<
    Pick<ConnectionMemory, 'limit' | 'held' | 'peak' | 'unread' | 'unsent' | 'streams'>
  >;
}

/** A stream and the protocol that it was opened for. */
export type ProtocolStream = Stream & { readonly protocol: string };

/** A connection as a transport makes it, for the node alone: only one party may accept streams. */
export interface TransportConnection extends AuthenticatedConnection {
  /** Set by whoever had it made. */
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
