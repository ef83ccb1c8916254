/**
 * Where an IP address is valid. A private address that a peer names may belong to a different host in our network.
 */

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { isLoopback, plainHost } from './socket-address.ts';

/** `public`: the whole internet; `private <block>`: one of the networks that use that address block. */
export type IpScope = 'public' | 'loopback' | `private ${string}`;

/**
 * IANA's special-purpose registries (RFC 6890), and multicast. `private`: used within a network, or for tests and
 * documentation; `none`: no other host can be dialled there.
 */
const NOT_PUBLIC: readonly (readonly [network: string, prefix: number, 'private' | 'none'])[] = [
  ['0.0.0.0', 8, 'none'],
  ['10.0.0.0', 8, 'private'],
  ['100.64.0.0', 10, 'private'], // shared by the customers of a carrier: RFC 6598
  ['127.0.0.0', 8, 'none'],
  ['169.254.0.0', 16, 'none'],
  ['172.16.0.0', 12, 'private'],
  ['192.0.0.0', 24, 'none'],
  ['192.0.2.0', 24, 'private'],
  ['192.88.99.0', 24, 'none'],
  ['192.168.0.0', 16, 'private'],
  ['198.18.0.0', 15, 'private'],
  ['198.51.100.0', 24, 'private'],
  ['203.0.113.0', 24, 'private'],
  ['224.0.0.0', 4, 'none'],
  ['240.0.0.0', 4, 'none'],
  ['2001::', 23, 'none'],
  ['2001:db8::', 32, 'private'],
  ['2002::', 16, 'none'], // 6to4: leads to any IPv4 address
  ['3fff::', 20, 'none'],
  ['fc00::', 7, 'private'],
];

const makeBlocks = () => {
  const blocks = NOT_PUBLIC.map(([network, prefix, use]) => {
    const list = new BlockList();
    list.addSubnet(network, prefix, network.includes(':') ? 'ipv6' : 'ipv4');
    const scope: IpScope | undefined =
      use === 'private' ? `private ${network}/${prefix}` : undefined;
    return { list, scope };
  });
  /** Global unicast: every public IPv6 address is in it (RFC 4291 section 2.4). */
  const unicast = new BlockList();
  unicast.addSubnet('2000::', 3, 'ipv6');
  return { blocks, unicast };
};

let made: ReturnType<typeof makeBlocks> | undefined;

/** `undefined` if `host` is not an IP literal, or an address at which no other host can be dialled. */
export const scopeOf = (host: string): IpScope | undefined => {
  const ip = plainHost(host);
  const family = isIPv4(ip) ? 'ipv4' : 'ipv6';
  if (family === 'ipv6' && !isIPv6(ip)) return undefined;
  if (isLoopback(ip)) return 'loopback';
  made ??= makeBlocks();
  const block = made.blocks.find(({ list }) => list.check(ip, family));
  if (block !== undefined) return block.scope;
  return family === 'ipv4' || made.unicast.check(ip, 'ipv6') ? 'public' : undefined;
};

/** Whether `host` is an IP address that the whole internet can reach; false for names. */
export const isPublicIp = (host: string): boolean => scopeOf(host) === 'public';
