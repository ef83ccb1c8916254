/**
 * How far an IP address reaches: what one peer says of its addresses may mean something else, or somebody
 * else, where we are.
 */

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { isPublicIp } from './public-ip.ts';
import { isLoopback, plainHost } from './socket-address.ts';

/** `public`, or the name of a block whose addresses mean something within one network only. */
export type IpScope = 'public' | 'loopback' | `private ${string}`;

/** Of IANA's special-purpose registries (RFC 6890): those that networks use within themselves. */
const PRIVATE: readonly (readonly [network: string, prefix: number])[] = [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['172.16.0.0', 12],
  ['192.0.2.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['2001:db8::', 32],
  ['fc00::', 7],
];

const blocks = PRIVATE.map(([network, prefix]) => {
  const list = new BlockList();
  list.addSubnet(network, prefix, network.includes(':') ? 'ipv6' : 'ipv4');
  return { name: `${network}/${prefix}`, list };
});

/** `undefined` for what is no IP literal, and for addresses that nobody can be dialled at from elsewhere. */
export const scopeOf = (host: string): IpScope | undefined => {
  const ip = plainHost(host);
  if (!isIPv4(ip) && !isIPv6(ip)) return undefined;
  if (isLoopback(ip)) return 'loopback';
  if (isPublicIp(ip)) return 'public';
  const family = isIPv4(ip) ? 'ipv4' : 'ipv6';
  const block = blocks.find(({ list }) => list.check(ip, family));
  return block === undefined ? undefined : `private ${block.name}`;
};
