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
   * @param sharing the addresses of that host to which datagrams are sent at the same time, this one included: all
   * together get as many as one would.
   * @returns false at once where no listener of ours can do so, else true.
   */
  punch?(address: Multiaddr, sharing: number, signal: AbortSignal): Promise<boolean>;

  /** Listens on one address. @throws ERR_ADDRESS, ERR_LISTEN. */
  listen(address: Multiaddr, options: TransportListenOptions): Promise<TransportListener>;
}

export interface TransportDialOptions {
  /** The peer that must answer; `undefined` accepts any. */
  readonly expectedPeer: PeerId | undefined;
  readonly signal: AbortSignal;
  /**
   * Our role, if this dial is part of a hole punch. Over TCP both sides dial, which may result in a simultaneous open;
   * the dial must leave from a listener's port if possible. Over QUIC only the dialer dials, and the listener calls
   * `punch()`.
   */
  readonly holePunch?: Role | undefined;
}

export interface TransportListenOptions {
  /** Called with every upgraded connection. Must not throw. */
  readonly onConnection: (connection: TransportConnection) => void;
  /** Called when an inbound connection was refused or its upgrade failed, for logs. `remote`: where it came from. */
  readonly onRefused: (error: Error, remote: string) => void;
  /** Counts connections that are not authenticated yet together with those of other listeners. */
  readonly pendingPool?: PendingPool;
}

export interface TransportListener {
  /** The bound address, with the actual port; the host may be unspecified; without `/p2p`. */
  readonly address: Multiaddr;
  /** Where it can be reached now, if that may differ from `address`: through a relay; none while the relay is lost. */
  addresses?(): readonly Multiaddr[];
  /** Closes every connection and then the socket. Idempotent; never rejects. */
  close(): Promise<void>;
}

/** Makes a transport for one node. */
export type TransportFactory = (context: TransportContext) => Transport | Promise<Transport>;

/** What a transport may need from its node. */
export interface TransportContext {
  readonly hostKey: HostKey;
  readonly localPeer: PeerId;
  /** The node's libp2p certificate, issued at the first call. */
  readonly tls: () => Promise<TlsIdentity>;
  /** The limits that the user has set; for the others each transport has its own defaults. */
  readonly limits: Partial<TransportLimits>;
  /** Emits an event of the node. */
  readonly emit: <Type extends keyof TransportEvents>(
    type: Type,
    detail: TransportEvents[Type],
  ) => void;
}

/** Limits of transports: those of `AdmissionLimits` apply to each listener, the others to each connection. */
export interface TransportLimits extends AdmissionLimits, MemoryLimits {
  /**
   * How long a handshake, or the upgrade of a socket, may take: 10,000. A connection that takes longer is
   * closed. Dials over QUIC have `dialTimeout` only.
   */
  readonly handshakeTimeout: number;
  /**
   * How long a connection may be silent, without a byte in either direction, until it is closed. Default:
   * 30,000 over QUIC (which uses the smaller value of both sides); none over TCP and WebSocket, where
   * the kernel's keep-alive probes detect a dead peer.
   */
  readonly idleTimeout: number;
  /**
   * Streams that a peer may have open at once on one connection. Default: 256 over QUIC, where it has to
   * wait until some have ended; 1,024 over yamux and mplex, which reset further ones.
   */
  readonly maxStreams: number;
}

/** Events of transports. */
export interface TransportEvents {
  /** A QUIC engine was chosen, and why. */
  'engine:select': { readonly engine: EngineName; readonly role: Role; readonly why: string };
  /** Limits were set that the engine cannot honour. */
  'limits:ignore': { readonly engine: EngineName; readonly limits: readonly string[] };
}
