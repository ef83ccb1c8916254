/** Published vectors for Noise_XX_25519_ChaChaPoly_SHA256, through both ciphers. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { nativeChaCha, portableChaCha, TAG_LENGTH } from '../../src/secure/chacha.ts';
import {
  type CipherState,
  generateNoiseKeyPair,
  noiseKeyPairFrom,
  startHandshake,
} from '../../src/secure/noise-state.ts';
import { concat } from '../../src/stream/bytes.ts';

interface Vector {
  readonly source: string;
  readonly init_prologue: string;
  readonly init_static: string;
  readonly init_ephemeral: string;
  readonly resp_prologue: string;
  readonly resp_static: string;
  readonly resp_ephemeral: string;
  readonly handshake_hash?: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

const file = new URL('./noise-vectors.json', import.meta.url);
const vectors = JSON.parse(readFileSync(file, 'utf8')) as readonly Vector[];
const EMPTY = new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const key = (text: string) => noiseKeyPairFrom(unhex(text));
const refused = (error: unknown): boolean => isLeanError(error, 'ERR_HANDSHAKE');

const open = (cipher: CipherState, sealed: Uint8Array): Uint8Array | undefined => {
  const split = sealed.length - TAG_LENGTH;
  const plain = cipher.open(EMPTY, [sealed.subarray(0, split)], sealed.subarray(split));
  return plain === undefined ? undefined : concat(plain);
};

/** The two sides of a handshake that has not started. */
const sides = (prologue = EMPTY) =>
  [true, false].map((initiator) =>
    startHandshake({ initiator, staticKey: generateNoiseKeyPair(), prologue }),
  ) as [ReturnType<typeof startHandshake>, ReturnType<typeof startHandshake>];

describe('Noise XX', () => {
  test('there are vectors of two sources', () => {
    assert.equal(new Set(vectors.map(({ source }) => source)).size, 2);
  });

  for (const vector of vectors) {
    test(`vector of ${vector.source}`, () => {
      const initiator = startHandshake({
        initiator: true,
        staticKey: key(vector.init_static),
        ephemeralKey: key(vector.init_ephemeral),
        prologue: unhex(vector.init_prologue),
      });
      const responder = startHandshake({
        initiator: false,
        staticKey: key(vector.resp_static),
        ephemeralKey: key(vector.resp_ephemeral),
        prologue: unhex(vector.resp_prologue),
      });
      assert(vector.messages.length > 3);
      for (const [i, { payload, ciphertext }] of vector.messages.slice(0, 3).entries()) {
        const [from, to] = i % 2 === 0 ? [initiator, responder] : [responder, initiator];
        const message = from.write(unhex(payload));
        assert.equal(hex(message), ciphertext);
        assert.equal(hex(to.read(message)), payload);
      }
      assert.equal(hex(initiator.remoteStatic), hex(key(vector.resp_static).publicKey));
      assert.equal(hex(responder.remoteStatic), hex(key(vector.init_static).publicKey));
      assert.deepEqual(initiator.hash, responder.hash);
      if (vector.handshake_hash !== undefined)
        assert.equal(hex(initiator.hash), vector.handshake_hash);
      const [ours, theirs] = [initiator.finish(), responder.finish()];
      for (const [i, { payload, ciphertext }] of vector.messages.slice(3).entries()) {
        const [from, to] = i % 2 === 0 ? [theirs, ours] : [ours, theirs];
        const sealed = concat(from.send.seal(EMPTY, [unhex(payload)]));
        assert.equal(hex(sealed), ciphertext);
        assert.equal(hex(open(to.receive, sealed) ?? EMPTY), payload);
      }
    });
  }

  test('every bit of messages two and three counts', () => {
    for (let at = 32; at < 200; at += 13) {
      const [initiator, responder] = sides();
      responder.read(initiator.write(EMPTY));
      const message = responder.write(randomBytes(100));
      message[at % message.length] = (message[at % message.length] ?? 0) ^ 1;
      assert.throws(() => initiator.read(message), refused);
    }
  });

  test('another prologue, a truncated message and a key of low order are refused', () => {
    const [initiator] = sides(Uint8Array.of(1));
    const [, responder] = sides(Uint8Array.of(2));
    responder.read(initiator.write(EMPTY));
    const message = responder.write(EMPTY);
    assert.throws(() => initiator.read(message), refused);

    for (const length of [0, 31]) {
      const [, listener] = sides();
      assert.throws(() => listener.read(new Uint8Array(length)), refused);
    }
    for (const length of [32, 79, 80, 95]) {
      const [dialer, listener] = sides();
      listener.read(dialer.write(EMPTY));
      const second = listener.write(EMPTY).subarray(0, length);
      assert.throws(() => dialer.read(second), refused);
    }
    const [, listener] = sides();
    listener.read(new Uint8Array(32));
    assert.throws(() => listener.write(EMPTY), refused);
  });

  test('a replayed, reordered or altered transport message does not open', () => {
    const [initiator, responder] = sides();
    responder.read(initiator.write(EMPTY));
    initiator.read(responder.write(EMPTY));
    responder.read(initiator.write(EMPTY));
    const { send } = initiator.finish();
    const { receive } = responder.finish();
    const [first, second] = [
      send.seal(EMPTY, [randomBytes(10)]),
      send.seal(EMPTY, [randomBytes(10)]),
    ];
    assert.equal(open(receive, concat(second)), undefined);
    assert(open(receive, concat(first)) !== undefined);
    assert.equal(open(receive, concat(first)), undefined);
    assert(open(receive, concat(second)) !== undefined);
  });
});

describe('ChaCha20-Poly1305', () => {
  test('the two implementations agree, chunk by chunk', () => {
    for (const lengths of [[], [0], [1], [15, 16, 17], [1_000, 1, 65_000]]) {
      const chunks = lengths.map((length) => randomBytes(length));
      const [k, nonce, ad] = [randomBytes(32), randomBytes(12), randomBytes(lengths.length * 16)];
      const native = concat(nativeChaCha.seal(k, nonce, ad, chunks));
      const portable = concat(portableChaCha.seal(k, nonce, ad, chunks));
      assert.equal(hex(native), hex(portable));
      const split = native.length - TAG_LENGTH;
      const [body, tag] = [native.subarray(0, split), native.subarray(split)];
      for (const cipher of [nativeChaCha, portableChaCha]) {
        const plain = cipher.open(k, nonce, ad, [body.subarray(0, 5), body.subarray(5)], tag);
        assert.equal(hex(concat(plain ?? [])), hex(Buffer.concat(chunks)));
        const altered = Uint8Array.from(tag);
        altered[3] = (altered[3] ?? 0) ^ 0x80;
        assert.equal(cipher.open(k, nonce, ad, [body], altered), undefined);
      }
    }
  });
});
