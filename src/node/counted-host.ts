/** What connections, reservations and votes are counted by. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import { ipOf } from '../multiaddr.ts';
import { isLoopback } from '../socket-address.ts';

/**
 * The host that `address` is of: its IPv4 address, or the IPv6 /56. `undefined` for this machine, and for addresses
 * without an IP address: limits per host do not hold for them.
 */
export const countedHostOf = (address: Multiaddr): string | undefined => {
  const ip = ipOf(address);
  return ip === undefined || isLoopback(ip) ? undefined : hostKeyOf(ip);
};
