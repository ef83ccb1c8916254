/**
 * Sources that a datagram may claim and that no answer can go to. Sources are easily forged, so such a
 * datagram is dropped before anything is kept of it, or sent because of it: a send to port 0 throws
 * in `node:dgram`, and one to a group or to everybody would reach machines that never asked.
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

/** The same hosts, for `node:quic`, which looks at no port: what it sends to port 0 is lost. */
export const unanswerableHosts = (): BlockList => {
  const list = new BlockList();
  list.addSubnet('0.0.0.0', 8, 'ipv4');
  list.addSubnet('224.0.0.0', 3, 'ipv4');
  list.addSubnet('ff00::', 8, 'ipv6');
  list.addAddress('::', 'ipv6');
  return list;
};
