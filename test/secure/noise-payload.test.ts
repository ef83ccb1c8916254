/** The libp2p payload of the Noise handshake (libp2p/specs noise/README.md). */

import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, test } from 'node:test';
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey, parsePublicKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { encodePayload, verifyPayload } from '../../src/secure/noise-payload.ts';
import { generateNoiseKeyPair } from '../../src/secure/noise-state.ts';

const staticKey = generateNoiseKeyPair().publicKey;
const hostKey = generateHostKey();
const bytes = (writer: BinaryWriter, field: number, value: Uint8Array): BinaryWriter =>
  writer.tag(field, WireType.LengthDelimited).bytes(value);
const SIGNED = Buffer.concat([Buffer.from('noise-libp2p-static-key:'), staticKey]);
const refused = (error: unknown): boolean => isLeanError(error, 'ERR_HANDSHAKE');

describe('the Noise payload', () => {
  test('says who the peer is and which muxers it speaks', () => {
    const payload = encodePayload(hostKey, staticKey, ['/yamux/1.0.0', '/mplex/6.7.0']);
    const { peer, muxers } = verifyPayload(payload, staticKey);
    assert(peer.equals(peerIdOf(hostKey.publicKey)));
    assert.deepEqual(muxers, ['/yamux/1.0.0', '/mplex/6.7.0']);
  });

  test('has the fields of the specification', () => {
    const reader = new BinaryReader(encodePayload(hostKey, staticKey, ['/yamux/1.0.0']));
    assert.deepEqual(reader.tag(), [1, WireType.LengthDelimited]);
    assert.deepEqual(Buffer.from(reader.bytes()), Buffer.from(hostKey.publicKey.protobuf));
    assert.deepEqual(reader.tag(), [2, WireType.LengthDelimited]);
    assert.deepEqual(Buffer.from(reader.bytes()), Buffer.from(hostKey.sign(SIGNED)));
    assert.deepEqual(reader.tag(), [4, WireType.LengthDelimited]);
    const extensions = new BinaryReader(reader.bytes());
    assert.deepEqual(extensions.tag(), [2, WireType.LengthDelimited]);
    assert.equal(extensions.string(), '/yamux/1.0.0');
    assert.equal(reader.pos, reader.len);
  });

  test('without extensions, with unknown fields, with an ECDSA key', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ format: 'der', type: 'spki' });
    const key = new BinaryWriter().tag(1, WireType.Varint).uint32(3);
    const identity = bytes(key, 2, spki).finish();
    const payload = new BinaryWriter().tag(9, WireType.Varint).uint32(5);
    bytes(payload, 2, sign('sha256', SIGNED, privateKey));
    bytes(payload, 77, new Uint8Array(9));
    const { peer, muxers } = verifyPayload(bytes(payload, 1, identity).finish(), staticKey);
    assert(peer.equals(peerIdOf(parsePublicKey(identity))));
    assert.equal(muxers, undefined);
  });

  test('is refused without the host key’s signature of this very static key', () => {
    const other = generateNoiseKeyPair().publicKey;
    assert.throws(() => verifyPayload(encodePayload(hostKey, other, []), staticKey), refused);
    const { protobuf } = hostKey.publicKey;
    for (const signature of [
      new Uint8Array(64),
      new Uint8Array(0),
      hostKey.sign(staticKey),
      generateHostKey().sign(SIGNED),
    ]) {
      const writer = bytes(new BinaryWriter(), 1, protobuf);
      const payload = bytes(writer, 2, signature).finish();
      assert.throws(() => verifyPayload(payload, staticKey), refused);
    }
  });

  test('is refused when it is malformed', () => {
    const whole = encodePayload(hostKey, staticKey, ['/yamux/1.0.0']);
    assert.throws(() => verifyPayload(whole.subarray(0, whole.length - 3), staticKey), refused);
    assert.throws(
      () => verifyPayload(new Uint8Array(0), staticKey),
      (error) => isLeanError(error, 'ERR_KEY_MALFORMED'),
    );
    const many = Array.from({ length: 101 }, (_, i) => `/m/${i}`);
    assert.throws(() => verifyPayload(encodePayload(hostKey, staticKey, many), staticKey), refused);
  });
});
