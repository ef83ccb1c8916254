/** What is known of where a node can be reached. */

import type { Multiaddr } from '@multiformats/multiaddr';

/** `public`: can be dialled; `private`: cannot; `unknown`: too few servers have said. */
export type ReachabilityStatus = 'unknown' | 'public' | 'private';

export interface Reachability {
  /** `public` when one address is; `private` when all that were checked are. */
  readonly status: ReachabilityStatus;
  /** Those that are checked, without `/p2p`. */
  readonly addresses: readonly {
    readonly address: Multiaddr;
    readonly status: ReachabilityStatus;
  }[];
}
