/** The result of a port mapping. */

import type { Multiaddr } from '@multiformats/multiaddr';

/** A port of a router that leads to a listener. */
export interface PortMapping {
  /** The external address, without `/p2p`. */
  readonly address: Multiaddr;
  /** The address that the listener is bound to, without `/p2p`. */
  readonly listening: Multiaddr;
}
