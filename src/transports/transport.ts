/**
 * A transport turns a multiaddr into authenticated connections: QUIC in one step, TCP and WebSocket
 * by way of the upgrade (secure channel, then muxer).
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { AdmissionLimits } from '../admission.ts';
import type { Role, TransportConnection } from '../connection.ts';
import type { MemoryLimits } from '../connection-memory.ts';
import type { HostKey } from '../identity/keys.ts';
import type { PeerId } from '../identity/peer-id.ts';
import type { PendingPool } from '../pending-pool.ts';
import type { EngineName } from '../quic/engine-name.ts';
import type { TlsIdentity } from '../tls/issue.ts';

export interface Transport {
  /** For logs: `quic-v1`, `tcp`, `websocket`. */
  readonly name: string;

  /** Whether `address` (with or without `/p2p`) is one of this transport's. */
  handles(address: Multiaddr): boolean;

  /** Loads what its first dial or listener would load. @throws ERR_ENGINE_UNAVAILABLE, ERR_OPTIONS. */
  prepare?(role: Role): Promise<void>;

  /**
   * Dials one address and completes the upgrade.
   *
   * @throws ERR_ADDRESS, ERR_DIAL, ERR_HANDSHAKE, ERR_PEER_ID_MISMATCH, the ERR_CERT_… codes,
   * ERR_TIMEOUT, ERR_ABORTED.
   */
  dial(address: Multiaddr, options: TransportDialOptions): Promise<TransportConnection>;

  /**
   * Opens the NATs on our side for a dial that comes from `address`: sends datagrams there from a listener's
   * socket until `signal` fires. Never rejects.
   *
   * @returns false at once where no listener of ours can do so, else true.
   */
  punch?(address: Multiaddr, signal: AbortSignal): Promise<boolean>;

  /** Listens on one address. @throws ERR_ADDRESS, ERR_LISTEN. */
  listen(address: Multiaddr, options: TransportListenOptions): Promise<TransportListener>;
}

export interface TransportDialOptions {
  /** Who must answer; `undefined` accepts whoever does. */
  readonly expectedPeer: PeerId | undefined;
  readonly signal: AbortSignal;
  /**
   * A hole punch, and who we are in it: over TCP both sides dial, and meet in a simultaneous open. It leaves from
   * a listener's port or not at all, where that is possible. Over QUIC only the dialer dials: the other one
   * `punch`es.
   */
  readonly holePunch?: Role | undefined;
}

export interface TransportListenOptions {
  /** Called with every upgraded connection. Must not throw. */
  readonly onConnection: (connection: TransportConnection) => void;
  /** Called when an inbound connection did not make it through the upgrade, for logs. */
  readonly onRefused: (error: Error, remote: string) => void;
  /** In which connections that are not authenticated yet are counted, beside those of other listeners. */
  readonly pendingPool?: PendingPool;
}

export interface TransportListener {
  /** The bound address, with the real port; may hold an unspecified host; without `/p2p`. */
  readonly address: Multiaddr;
  /** Where it can be reached now, if that may differ: through a relay; none while that is lost. */
  addresses?(): readonly Multiaddr[];
  /** Closes every connection and then the socket. Idempotent; never rejects. */
  close(): Promise<void>;
}

/** Makes a transport for one node. */
export type TransportFactory = (context: TransportContext) => Transport | Promise<Transport>;

/** What a transport may need of its node. */
export interface TransportContext {
  readonly hostKey: HostKey;
  readonly localPeer: PeerId;
  /** The node's libp2p certificate, issued at the first call. */
  readonly tls: () => Promise<TlsIdentity>;
  /** Those that the node's user has set; for the others a transport has its own defaults. */
  readonly limits: Partial<TransportLimits>;
  /** Tells the node's listeners. */
  readonly emit: <Type extends keyof TransportEvents>(
    type: Type,
    detail: TransportEvents[Type],
  ) => void;
}

/** What transports bound: those of `AdmissionLimits` for each listener, the others for each connection; milliseconds. */
export interface TransportLimits extends AdmissionLimits, MemoryLimits {
  /**
   * How long a handshake, or the upgrade of a socket, may take: 10,000. A connection that takes longer is
   * closed. Dials over QUIC have `dialTimeout` only.
   */
  readonly handshakeTimeout: number;
  /**
   * How long a connection may be silent, without a byte in either direction, until it is closed. Default:
   * 30,000 over QUIC (which goes by the smaller one of both sides'); none over TCP and WebSocket, where
   * the kernel finds out whether the peer's machine is still there.
   */
  readonly idleTimeout: number;
  /**
   * Streams that a peer may have open at once on one connection. Default: 256 over QUIC, where it has to
   * wait until some have ended; 1,024 over yamux and mplex, which reset the ones beyond.
   */
  readonly maxStreams: number;
}

/** What transports tell of themselves. */
export interface TransportEvents {
  /** A QUIC engine was chosen, and why. */
  'engine:select': { readonly engine: EngineName; readonly role: Role; readonly why: string };
  /** The engine has no use for limits that were set. */
  'limits:ignore': { readonly engine: EngineName; readonly limits: readonly string[] };
}
