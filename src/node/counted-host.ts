/** The host that connections, reservations and AutoNAT results are counted for. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import { ipOf } from '../multiaddr.ts';
import { isLoopback } from '../socket-address.ts';

/**
 * The host of `address`: its IPv4 address, or its IPv6 /56. `undefined` for loopback and for addresses without an IP
 * address, which have no limits per host.
 */
export const countedHostOf = (address: Multiaddr): string | undefined => {
  const ip = ipOf(address);
  return ip === undefined || isLoopback(ip) ? undefined : hostKeyOf(ip);
};
