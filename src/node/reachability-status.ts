/** The result of checking a node's reachability. */

import type { Multiaddr } from '@multiformats/multiaddr';

/** `public`: can be dialled; `private`: cannot be dialled; `unknown`: too few servers agree. */
export type ReachabilityStatus = 'unknown' | 'public' | 'private';

export interface Reachability {
  /** `public` when one address is; `private` when all checked addresses are; else `unknown`. */
  readonly status: ReachabilityStatus;
  /** The addresses that are checked, without `/p2p`. */
  readonly addresses: readonly {
    readonly address: Multiaddr;
    readonly status: ReachabilityStatus;
  }[];
}
