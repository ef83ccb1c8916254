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
  /** What the relay says it allows: the connection is limited, and will be reset. `undefined`: no limits. */
  readonly limit?: CircuitLimit | undefined;
}

/** What a relay allows one connection; without a value: any. */
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
   * Milliseconds from its first packet, or at a listener from its open socket, until the peer was authenticated.
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
  /** How long the peer's stream limit may make it wait, milliseconds; default 30,000. */
  readonly timeout?: number | undefined;
}

/** What a node gives its user, and its protocol handlers. Disposing of it closes it. */
export interface Connection extends AuthenticatedConnection, AsyncDisposable {
  /**
   * Opens a stream for a protocol; waits while the peer's stream limit is reached.
   *
   * One protocol is selected without waiting for the peer's consent (`selectLazily`), so that the first
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

  /** What it makes this node hold; bytes. */
  readonly memory: Readonly<
    Pick<ConnectionMemory, 'limit' | 'held' | 'peak' | 'unread' | 'unsent' | 'streams'>
  >;
}

/** A stream and the protocol that it was opened for. */
export type ProtocolStream = Stream & { readonly protocol: string };

/** What a transport makes, for the node alone: of those who accept streams there must be one only. */
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
