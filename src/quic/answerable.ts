/**
 * Source addresses that cannot be answered. Sources are easily forged, so datagrams from them are dropped
 * before they cost any state or cause a reply: a send to port 0 throws in `node:dgram`, and a reply to a
 * multicast or broadcast address would reach machines that sent nothing.
 */

import { BlockList } from 'node:net';

/**
 * Whether `host`, an IP literal as `node:dgram` shows it, and `port` can be the other end of a
 * connection: neither port 0 (RFC 768: no source port) nor an unspecified, multicast, reserved or
 * broadcast address (RFC 1122 section 3.2.1.3, RFC 4291 section 2). A subnet's broadcast address
 * looks like any other; the kernel refuses to send to it.
 */
export const isAnswerable = (host: string, port: number): boolean => {
  if (port === 0) return false;
  if (host.includes(':')) return !/^(ff|::$)/i.test(host);
  const first = Number.parseInt(host, 10);
  return first > 0 && first < 224;
};

/** The same hosts as a block list for `node:quic`. It cannot block port 0, but packets to that are merely lost. */
export const unanswerableHosts = (): BlockList => {
  const list = new BlockList();
  list.addSubnet('0.0.0.0', 8, 'ipv4');
  list.addSubnet('224.0.0.0', 3, 'ipv4');
  list.addSubnet('ff00::', 8, 'ipv6');
  list.addAddress('::', 'ipv6');
  return list;
};
