/** Peer ids (src/identity/peer-id.ts): text, or a multihash after a byte above 0x7f. */

import { parsePeerId, peerIdFromMultihash, peerIdToCid } from '../../src/identity/peer-id.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected, sameBytes } from '../support/expect.ts';

const TEXTS = [
  '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN',
  'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N',
  'bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe',
  'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8',
];

export const target: FuzzTarget = {
  seeds: () => [
    ...TEXTS.map((text) => Buffer.from(text)),
    ...TEXTS.slice(0, 2).map((text) =>
      Buffer.concat([Uint8Array.of(0x80), parsePeerId(text).multihash]),
    ),
  ],
  words: [
    '12D3Koo',
    'Qm',
    'bafz',
    'k51',
    'z',
    Uint8Array.of(0, 36, 8, 1, 18, 32),
    Uint8Array.of(0x12, 0x20),
  ],
  maxLength: 128,
  fuzz: (data) => {
    try {
      const peer =
        (data[0] ?? 0) >= 0x80
          ? peerIdFromMultihash(data.subarray(1))
          : parsePeerId(Buffer.from(data).toString());
      check(parsePeerId(peer.toString()).equals(peer), 'its text reads back');
      check(parsePeerId(peerIdToCid(peer)).equals(peer), 'its CID reads back');
      check(
        sameBytes(peerIdFromMultihash(peer.multihash).multihash, peer.multihash),
        'its bytes read back',
      );
    } catch (error) {
      expected(error, 'ERR_PEER_ID_MALFORMED');
    }
  },
};
