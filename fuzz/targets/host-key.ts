/** A host key as protobuf, and a signature by it (src/identity/keys.ts). The first byte: the key's length. */

import { generateKeyPairSync } from 'node:crypto';
import { hostKeyFromSeed, parsePublicKey, verifySignature } from '../../src/identity/keys.ts';
import { peerIdFromMultihash, peerIdOf } from '../../src/identity/peer-id.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected, sameBytes } from '../support/expect.ts';

const MESSAGE = Buffer.from('to whom it may concern');
const ours = hostKeyFromSeed(new Uint8Array(32));

/** A `PublicKey` message by hand. */
const message = (type: number, data: Uint8Array): Uint8Array => {
  const length =
    data.length < 128 ? [data.length] : [(data.length & 0x7f) | 0x80, data.length >> 7];
  return Buffer.concat([Uint8Array.of(8, type, 0x12, ...length), data]);
};

const withSignature = (key: Uint8Array, signature: Uint8Array): Uint8Array =>
  Buffer.concat([Uint8Array.of(key.length >> 8, key.length), key, signature]);

export const target: FuzzTarget = {
  seeds: () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
    const ec = ['P-256', 'P-384', 'P-521'].map(
      (namedCurve) => generateKeyPairSync('ec', { namedCurve }).publicKey,
    );
    const point = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
      .publicKey.export({ format: 'der', type: 'spki' })
      .subarray(-65);
    const compressed = Buffer.concat([
      Uint8Array.of(2 + ((point[64] ?? 0) & 1)),
      point.subarray(1, 33),
    ]);
    const spki = [rsa, ...ec].map((key) => key.export({ format: 'der', type: 'spki' }));
    return [
      withSignature(ours.publicKey.protobuf, ours.sign(MESSAGE)),
      withSignature(message(2, compressed), Buffer.from('3006020101020101', 'hex')),
      ...spki.map((der, i) => withSignature(message(i === 0 ? 0 : 3, der), new Uint8Array(70))),
    ];
  },
  words: [
    Buffer.from('302a300506032b6570032100', 'hex'),
    Uint8Array.of(8, 1, 0x12, 32),
    Uint8Array.of(8, 4),
  ],
  fuzz: (data) => {
    const length = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
    const encoded = data.subarray(2, 2 + length);
    try {
      const key = parsePublicKey(encoded);
      check(sameBytes(key.protobuf, encoded), 'an encoding that is taken is the only one');
      const peer = peerIdOf(key);
      check(peerIdFromMultihash(peer.multihash).equals(peer), 'a peer id reads back');
      verifySignature(key, MESSAGE, data.subarray(2 + length));
    } catch (error) {
      expected(error, 'ERR_KEY_');
    }
  },
};
