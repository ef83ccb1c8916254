/** What is known of a port that a router was asked for. */

import type { Multiaddr } from '@multiformats/multiaddr';

/** A port of a router that leads to a listener. */
export interface PortMapping {
  /** Outside, without `/p2p`. */
  readonly address: Multiaddr;
  /** Where the listener is bound, without `/p2p`. */
  readonly listening: Multiaddr;
}
