/**
 * Multiaddrs (src/multiaddr.ts): text, as Redis, DNS and people give it, after a byte 0; else the binary form,
 * as identify does.
 */

import {
  decodeMultiaddr,
  hostOf,
  kindOf,
  parseMultiaddr,
  peerOf,
  withoutPeer,
} from '../../src/multiaddr.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected, sameBytes } from '../support/expect.ts';

const PEER = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN';
const ADDRESSES = [
  '/ip4/127.0.0.1/udp/4001/quic-v1',
  `/ip6/2001:db8::1/tcp/4001/p2p/${PEER}`,
  '/dns4/example.org/tcp/443/tls/sni/example.org/ws',
  '/dnsaddr/bootstrap.libp2p.io',
  '/ip6zone/eth0/ip6/fe80::1/udp/1/quic-v1/webtransport/certhash/uEiDkD1p',
  '/unix/%2Ftmp%2Fsocket',
  '/ip4/1.2.3.4/ipcidr/24',
  '/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234',
];

export const target: FuzzTarget = {
  seeds: () => [
    ...ADDRESSES.map((text) => Buffer.from(`\0${text}`)),
    ...ADDRESSES.flatMap((text) => {
      try {
        return [Buffer.concat([Uint8Array.of(1), parseMultiaddr(text).bytes])];
      } catch {
        return [];
      }
    }),
  ],
  words: [
    ...new Set(ADDRESSES.flatMap((text) => text.split('/').map((part) => `/${part}`))),
    '/http-path/',
    '/p2p-circuit',
    '/garlic64/',
    Uint8Array.of(0xa5, 3, 0x26),
    Uint8Array.of(0x91, 2),
    Uint8Array.of(0xcd, 3),
    Uint8Array.of(0x2a, 0xff, 0xff, 0xff, 0x7f),
  ],
  fuzz: (data) => {
    try {
      const [kind, ...rest] = data;
      const address =
        kind === 0
          ? parseMultiaddr(Buffer.from(rest).toString())
          : decodeMultiaddr(data.subarray(1));
      kindOf(address);
      withoutPeer(address);
      try {
        peerOf(address);
      } catch (error) {
        check(kind === 0, 'peer ids are looked at when bytes come');
        // In text, which its user can correct, only when one is needed.
        expected(error, 'ERR_PEER_ID_MALFORMED');
        return;
      }
      check(sameBytes(decodeMultiaddr(address.bytes).bytes, address.bytes), 'bytes read back');
      check(parseMultiaddr(address.toString()).equals(address), 'text reads back');
      hostOf(address);
    } catch (error) {
      expected(error, 'ERR_ADDRESS');
    }
  },
};
