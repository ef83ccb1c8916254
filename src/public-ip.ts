/** Which IP addresses the whole internet can reach. */

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { plainHost } from './socket-address.ts';

/** What IANA's special-purpose registries (RFC 6890) set apart, and multicast; IPv4. */
const NOT_PUBLIC_IPV4: readonly (readonly [network: string, prefix: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10], // shared by the customers of a carrier: RFC 6598
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
];

/** The same within 2000::/3, outside which nothing is public. */
const NOT_PUBLIC_IPV6: readonly (readonly [network: string, prefix: number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16], // 6to4: leads to any IPv4 address
  ['3fff::', 20],
];

const makeLists = () => {
  const apart = new BlockList();
  for (const [network, prefix] of NOT_PUBLIC_IPV4) apart.addSubnet(network, prefix, 'ipv4');
  for (const [network, prefix] of NOT_PUBLIC_IPV6) apart.addSubnet(network, prefix, 'ipv6');
  const unicast = new BlockList();
  unicast.addSubnet('2000::', 3, 'ipv6');
  return { apart, unicast };
};

let lists: ReturnType<typeof makeLists> | undefined;

/** Whether `host` is an IP address that anybody on the internet may be behind; names are not. */
export const isPublicIp = (host: string): boolean => {
  const ip = plainHost(host);
  lists ??= makeLists();
  if (isIPv4(ip)) return !lists.apart.check(ip, 'ipv4');
  return isIPv6(ip) && lists.unicast.check(ip, 'ipv6') && !lists.apart.check(ip, 'ipv6');
};
