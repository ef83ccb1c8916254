/**
 * A transport turns a multiaddr into authenticated connections: QUIC in one step, TCP and WebSocket
 * by way of the upgrade (secure channel, then muxer).
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';

export interface Transport {
  /** `quic-v1`, `tcp`, `ws`: the harness's names. */
  readonly name: string;

  /** Whether `address` (with or without `/p2p`) is one of this transport's. */
  handles(address: Multiaddr): boolean;

  /**
   * Dials one address and completes the upgrade.
   *
   * @throws ERR_ADDRESS, ERR_DIAL, ERR_HANDSHAKE, ERR_PEER_ID_MISMATCH, the ERR_CERT_… codes,
   * ERR_TIMEOUT, ERR_ABORTED.
   */
  dial(address: Multiaddr, options: TransportDialOptions): Promise<Connection>;

  /** Listens on one address. @throws ERR_ADDRESS, ERR_LISTEN. */
  listen(address: Multiaddr, options: TransportListenOptions): Promise<TransportListener>;
}

export interface TransportDialOptions {
  /** Who must answer; `undefined` accepts whoever does. */
  readonly expectedPeer: PeerId | undefined;
  readonly signal: AbortSignal;
}

export interface TransportListenOptions {
  /** Called with every upgraded connection. Must not throw. */
  readonly onConnection: (connection: Connection) => void;
  /** Called when an inbound connection did not make it through the upgrade, for logs. */
  readonly onRefused: (error: Error, remote: string) => void;
}

export interface TransportListener {
  /** The bound address, with the real port; may hold an unspecified host; without `/p2p`. */
  readonly address: Multiaddr;
  /** Closes every connection and then the socket. Idempotent; never rejects. */
  close(): Promise<void>;
}
