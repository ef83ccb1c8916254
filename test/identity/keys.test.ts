import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { publicKeyMessage, publicKeyOf, testHostKey } from '../../interop/hostile/certificates.ts';
import { isLeanError } from '../../src/errors.ts';
import {
  generateHostKey,
  hostKeyFromSeed,
  type KeyType,
  parsePublicKey,
  verifySignature,
} from '../../src/identity/keys.ts';
import { DER, writeElement } from '../../src/tls/der.ts';
import { mutate, seededRandom } from '../support/random.ts';

const { vectors } = JSON.parse(
  readFileSync(new URL('../vectors/keys.json', import.meta.url), 'utf8'),
) as { vectors: Record<string, string> };

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');

const vector = (name: string): Uint8Array => {
  const text = vectors[name];
  assert.ok(text !== undefined, `no vector "${name}"`);
  return hex(text);
};

/** The `Data` of a PrivateKey message, which has the fields of a PublicKey. */
const privateData = (name: string): Uint8Array => {
  const reader = new BinaryReader(vector(name));
  reader.tag();
  reader.uint32();
  reader.tag();
  return reader.bytes();
};

const message = Buffer.from('The quick brown fox');

describe('vectors of libp2p/specs peer-ids', () => {
  const publicVectors: readonly [string, KeyType, number][] = [
    ['rsa public key', 'RSA', 550],
    ['ED25519 public key', 'Ed25519', 32],
    ['secp256k1 public key', 'Secp256k1', 33],
    ['ECDSA public key', 'ECDSA', 91],
  ];
  for (const [name, type, length] of publicVectors) {
    it(`parses the ${name}`, () => {
      const key = parsePublicKey(vector(name));
      assert.equal(key.type, type);
      assert.equal(key.data.length, length);
      assert.deepEqual(key.protobuf, Uint8Array.from(vector(name)));
    });
  }

  it('derives the Ed25519 public key from the private key', () => {
    const data = privateData('ED25519 private key');
    const key = hostKeyFromSeed(data.subarray(0, 32));
    assert.deepEqual(key.publicKey, parsePublicKey(vector('ED25519 public key')));
    assert.deepEqual(Buffer.from(data.subarray(32)), Buffer.from(key.publicKey.data));
    assert.ok(verifySignature(key.publicKey, message, key.sign(message)));
  });

  const privateVectors: readonly [string, KeyType, () => ReturnType<typeof createPrivateKey>][] = [
    [
      'rsa',
      'RSA',
      () => createPrivateKey({ key: buffer('rsa private key'), format: 'der', type: 'pkcs1' }),
    ],
    [
      'ECDSA',
      'ECDSA',
      () => createPrivateKey({ key: buffer('ECDSA private key'), format: 'der', type: 'sec1' }),
    ],
    [
      'secp256k1',
      'Secp256k1',
      () =>
        // ECPrivateKey (RFC 5915) around the 32 bytes.
        createPrivateKey({
          key: Buffer.concat([
            hex('302e0201010420'),
            buffer('secp256k1 private key'),
            hex('a00706052b8104000a'),
          ]),
          format: 'der',
          type: 'sec1',
        }),
    ],
  ];
  const buffer = (name: string): Buffer => Buffer.from(privateData(name));
  for (const [name, type, load] of privateVectors) {
    it(`verifies what the ${name} private key signed`, () => {
      const privateKey = load();
      const key = parsePublicKey(vector(`${name} public key`));
      assert.deepEqual(publicKeyOf(type, createPublicKey(privateKey)), key);
      assert.ok(verifySignature(key, message, sign('sha256', message, privateKey)));
    });
  }
});

describe('Ed25519 host keys', () => {
  it('signs as in RFC 8032 section 7.1, test 3', () => {
    const key = hostKeyFromSeed(
      hex('c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7'),
    );
    assert.equal(
      Buffer.from(key.sign(hex('af82'))).toString('hex'),
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
        '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    );
  });

  it('comes back from its seed', () => {
    const key = generateHostKey();
    assert.deepEqual(hostKeyFromSeed(key.seed).publicKey, key.publicKey);
    assert.notDeepEqual(generateHostKey().seed, key.seed);
  });

  it('keeps its own copy of the seed', () => {
    const seed = Uint8Array.from({ length: 32 }, (_, i) => i);
    const key = hostKeyFromSeed(seed);
    seed.fill(0);
    assert.ok(verifySignature(key.publicKey, message, key.sign(message)));
  });

  it('refuses a seed that is not 32 bytes', () => {
    for (const length of [0, 31, 33, 64]) {
      assert.throws(
        () => hostKeyFromSeed(new Uint8Array(length)),
        (error) => isLeanError(error, 'ERR_KEY_MALFORMED'),
      );
    }
  });
});

describe('signatures of all four types', () => {
  for (const type of ['RSA', 'Ed25519', 'Secp256k1', 'ECDSA'] as const) {
    const key = testHostKey(type);
    const signature = key.sign(message);

    it(`${type}: accepts the right one only`, () => {
      assert.ok(verifySignature(key.publicKey, message, signature));
      assert.ok(!verifySignature(key.publicKey, Buffer.from('The quick brown fix'), signature));
      assert.ok(!verifySignature(key.publicKey, message, new Uint8Array()));
      assert.ok(!verifySignature(key.publicKey, message, new Uint8Array(20_000)));
      const other = type === 'RSA' ? 'ECDSA' : type;
      assert.ok(!verifySignature(testHostKey(other).publicKey, message, signature));
    });

    it(`${type}: refuses changed, cut and extended signatures`, () => {
      for (let at = 0; at < signature.length; at++) {
        const changed = Uint8Array.from(signature);
        changed[at] = (changed[at] ?? 0) ^ 1;
        assert.ok(!verifySignature(key.publicKey, message, changed), `byte ${at}`);
      }
      assert.ok(!verifySignature(key.publicKey, message, signature.subarray(0, -1)));
      assert.ok(!verifySignature(key.publicKey, message, Buffer.concat([signature, hex('00')])));
    });
  }

  it('returns false for 32 bytes that are no point of Ed25519', () => {
    const data = new Uint8Array(32).fill(0xff);
    data[0] = 2;
    const key = parsePublicKey(publicKeyMessage(1, data));
    assert.equal(verifySignature(key, message, new Uint8Array(64)), false);
  });
});

describe('public keys that are refused', () => {
  const malformed = (name: string, bytes: () => Uint8Array): void => {
    it(name, () => {
      assert.throws(
        () => parsePublicKey(bytes()),
        (error) => isLeanError(error, 'ERR_KEY_MALFORMED'),
      );
    });
  };
  const ed25519 = vector('ED25519 public key');
  const data = ed25519.subarray(4);
  const ecdsa = parsePublicKey(vector('ECDSA public key')).data;
  const secp256k1 = parsePublicKey(vector('secp256k1 public key')).data;
  const ecSpki = (namedCurve: string, paramEncoding: 'named' | 'explicit' = 'named'): Buffer =>
    generateKeyPairSync('ec', { namedCurve, paramEncoding }).publicKey.export({
      format: 'der',
      type: 'spki',
    });
  /** A number with all bits set serves as a modulus; nobody needs its factors. */
  const rsaSpki = (bits: number, exponent = hex('010001')): Uint8Array => {
    const modulus = Buffer.alloc(1 + bits / 8, 0xff);
    modulus[0] = 0;
    const key = writeElement(
      DER.SEQUENCE,
      writeElement(DER.INTEGER, modulus),
      writeElement(DER.INTEGER, exponent),
    );
    return writeElement(
      DER.SEQUENCE,
      hex('300d06092a864886f70d0101010500'),
      writeElement(DER.BIT_STRING, hex('00'), key),
    );
  };

  malformed('nothing', () => new Uint8Array());
  malformed('a text', () => Buffer.from('not a key'));
  malformed('no data', () => hex('0801'));
  malformed('no type', () => ed25519.subarray(2));
  malformed('empty data', () => hex('08011200'));
  malformed('fields in the wrong order', () => Buffer.concat([ed25519.subarray(2), hex('0801')]));
  malformed('a type that is not minimal', () =>
    Buffer.concat([hex('088100'), ed25519.subarray(2)]),
  );
  malformed('a length that is not minimal', () => Buffer.concat([hex('080112a000'), data]));
  malformed('an additional field', () => Buffer.concat([ed25519, hex('1800')]));
  malformed('data twice', () => Buffer.concat([ed25519, ed25519.subarray(2)]));
  malformed('a byte too many', () => Buffer.concat([ed25519, hex('00')]));
  malformed('a byte too few', () => ed25519.subarray(0, -1));
  malformed('a length beyond the end', () => hex('080112ffffffff0f'));
  it('more than 2 KiB, without a look at them', () => {
    assert.throws(() => parsePublicKey(publicKeyMessage(0, new Uint8Array(2048))), {
      code: 'ERR_KEY_MALFORMED',
      message: /2053 bytes, at most 2048/,
    });
  });
  malformed('Ed25519 of 31 bytes', () => publicKeyMessage(1, data.subarray(1)));
  malformed('Ed25519 of 33 bytes', () => publicKeyMessage(1, Buffer.concat([data, hex('00')])));
  malformed('Secp256k1 of 32 bytes', () => publicKeyMessage(2, data));
  malformed('Secp256k1 uncompressed', () =>
    publicKeyMessage(2, Buffer.concat([hex('04'), new Uint8Array(64).fill(1)])),
  );
  malformed('Secp256k1 off the curve', () =>
    publicKeyMessage(2, Buffer.concat([hex('02'), new Uint8Array(32).fill(0xff)])),
  );
  malformed('Secp256k1 with an unknown prefix', () =>
    publicKeyMessage(2, Buffer.concat([hex('05'), secp256k1.subarray(1)])),
  );
  malformed('RSA of 1024 bits', () => publicKeyMessage(0, rsaSpki(1024)));
  malformed('RSA of 8200 bits', () => publicKeyMessage(0, rsaSpki(8200)));
  malformed('RSA with an exponent that makes it slow', () =>
    publicKeyMessage(0, rsaSpki(3072, Buffer.alloc(380, 0x7f))),
  );
  malformed('RSA with an exponent of 2^31 + 1', () =>
    publicKeyMessage(0, rsaSpki(2048, hex('0080000001'))),
  );
  malformed('RSA with the exponent 1', () => publicKeyMessage(0, rsaSpki(2048, hex('01'))));
  malformed('RSA with trailing bytes', () =>
    publicKeyMessage(0, Buffer.concat([rsaSpki(2048), hex('00')])),
  );
  malformed('RSA for PSS only', () => {
    const { publicKey } = generateKeyPairSync('rsa-pss', { modulusLength: 2048 });
    return publicKeyMessage(0, publicKey.export({ format: 'der', type: 'spki' }));
  });
  malformed('an ECDSA key declared as RSA', () => publicKeyMessage(0, ecdsa));
  malformed('an RSA key declared as ECDSA', () => publicKeyMessage(3, rsaSpki(2048)));
  malformed('ECDSA with trailing bytes', () =>
    publicKeyMessage(3, Buffer.concat([ecdsa, hex('00')])),
  );
  malformed('ECDSA with a compressed point', () => {
    const point = Buffer.concat([hex('02'), ecdsa.subarray(27, 59)]);
    const spki = Buffer.concat([hex('3039'), ecdsa.subarray(2, 23), hex('032200'), point]);
    return publicKeyMessage(3, spki);
  });
  malformed('ECDSA on secp256k1', () => publicKeyMessage(3, ecSpki('secp256k1')));
  malformed('ECDSA on P-224', () => publicKeyMessage(3, ecSpki('P-224')));
  malformed('ECDSA on a curve by parameters', () =>
    publicKeyMessage(3, ecSpki('P-256', 'explicit')),
  );

  it('an unknown type', () => {
    for (const type of [4, 127, 0xffff_ffff]) {
      assert.throws(
        () => parsePublicKey(publicKeyMessage(type, data)),
        (error) => isLeanError(error, 'ERR_KEY_TYPE'),
      );
    }
  });

  it('RSA of 2048 and 8192 bits, P-384 and P-521 are allowed', () => {
    for (const bits of [2048, 8192]) {
      assert.equal(parsePublicKey(publicKeyMessage(0, rsaSpki(bits))).type, 'RSA');
    }
    for (const curve of ['P-384', 'P-521']) {
      assert.equal(parsePublicKey(publicKeyMessage(3, ecSpki(curve))).type, 'ECDSA');
    }
  });

  it('copies what it parses', () => {
    const bytes = Uint8Array.from(ed25519);
    const key = parsePublicKey(bytes);
    bytes.fill(0);
    assert.deepEqual(Buffer.from(key.data), Buffer.from(data));
  });

  it('thousands of damaged keys, without any other kind of error', () => {
    for (const [index, name] of Object.keys(vectors).entries()) {
      const random = seededRandom(index);
      const bytes = vector(name);
      for (let round = 0; round < 500; round++) {
        const damaged = mutate(random, bytes);
        try {
          const key = parsePublicKey(damaged);
          assert.deepEqual(Buffer.from(key.protobuf), Buffer.from(damaged));
          verifySignature(key, message, damaged);
        } catch (error) {
          assert.ok(isLeanError(error), `${name}, round ${round}: ${error}`);
        }
      }
    }
  });
});
