import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { base32 } from 'multiformats/bases/base32';
import { base36 } from 'multiformats/bases/base36';
import { base58btc } from 'multiformats/bases/base58';
import { testHostKey } from '../../interop/hostile/certificates.ts';
import { isLeanError } from '../../src/errors.ts';
import { parsePublicKey } from '../../src/identity/keys.ts';
import {
  parsePeerId,
  peerIdFromMultihash,
  peerIdOf,
  peerIdToCid,
} from '../../src/identity/peer-id.ts';
import { mutate, seededRandom } from '../support/random.ts';

const { vectors } = JSON.parse(
  readFileSync(new URL('../vectors/keys.json', import.meta.url), 'utf8'),
) as { vectors: Record<string, string> };

const keyVector = (name: string): ReturnType<typeof parsePublicKey> =>
  parsePublicKey(Buffer.from(vectors[name] ?? '', 'hex'));

/** The examples of libp2p/specs peer-ids, section String representation. */
const CID_TEXT = 'bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe';
const SHA256_TEXT = 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N';
const ED25519_TEXT = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';

const sha256 = (bytes: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.of(0x12, 0x20), createHash('sha256').update(bytes).digest()]);
const identity = (bytes: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.of(0x00, bytes.length), bytes]);
const cidBytes = (multihash: Uint8Array): Uint8Array =>
  Buffer.concat([Buffer.of(0x01, 0x72), multihash]);

describe('text forms', () => {
  it("parses the specification's examples", () => {
    const sha = parsePeerId(SHA256_TEXT);
    assert.equal(sha.multihash.length, 34);
    assert.equal(sha.publicKey, undefined);
    assert.equal(String(sha), SHA256_TEXT);
    assert.equal(peerIdToCid(sha), CID_TEXT);

    const fromCid = parsePeerId(CID_TEXT);
    assert.ok(fromCid.equals(sha));
    assert.equal(String(fromCid), SHA256_TEXT);

    const ed25519 = parsePeerId(ED25519_TEXT);
    assert.equal(ed25519.publicKey?.type, 'Ed25519');
    assert.equal(String(ed25519), ED25519_TEXT);
  });

  for (const name of ['rsa', 'ED25519', 'secp256k1', 'ECDSA']) {
    it(`goes through every text form: ${name}`, () => {
      const id = peerIdOf(keyVector(`${name} public key`));
      const texts = [
        String(id),
        peerIdToCid(id),
        peerIdToCid(id, 'base32'),
        peerIdToCid(id, 'base36'),
        base58btc.encode(cidBytes(id.multihash)),
      ];
      for (const text of texts) {
        const parsed = parsePeerId(text);
        assert.ok(parsed.equals(id), text);
        assert.deepEqual(parsed.multihash, id.multihash);
      }
      assert.match(peerIdToCid(id), /^b[a-z2-7]+$/);
      assert.match(peerIdToCid(id, 'base36'), /^k[0-9a-z]+$/);
    });
  }
});

describe('multihashes', () => {
  it('is an identity of keys up to 42 bytes, and SHA-256 above', () => {
    const key = keyVector('ED25519 public key');
    for (const [length, expected] of [
      [36, identity],
      [42, identity],
      [43, sha256],
      [600, sha256],
    ] as const) {
      const protobuf = new Uint8Array(length).fill(7);
      const id = peerIdOf({ ...key, protobuf });
      assert.deepEqual(Buffer.from(id.multihash), Buffer.from(expected(protobuf)));
    }
  });

  it('inlines Ed25519 and Secp256k1 keys and gives them back', () => {
    for (const name of ['ED25519 public key', 'secp256k1 public key']) {
      const key = keyVector(name);
      const id = peerIdFromMultihash(peerIdOf(key).multihash);
      assert.deepEqual(id.publicKey, key);
    }
  });

  it('hashes RSA and ECDSA keys', () => {
    for (const name of ['rsa public key', 'ECDSA public key']) {
      const key = keyVector(name);
      assert.equal(peerIdOf(key).publicKey, key);
      assert.match(String(peerIdOf(key)), /^Qm/);
      assert.equal(peerIdFromMultihash(peerIdOf(key).multihash).publicKey, undefined);
    }
  });

  it('copies its input', () => {
    const bytes = Uint8Array.from(parsePeerId(SHA256_TEXT).multihash);
    const id = peerIdFromMultihash(bytes);
    bytes.fill(0);
    assert.equal(String(id), SHA256_TEXT);
  });

  it('compares by value', () => {
    const { publicKey } = testHostKey('Ed25519');
    assert.ok(peerIdOf(publicKey).equals(parsePeerId(String(peerIdOf(publicKey)))));
    assert.ok(!peerIdOf(publicKey).equals(peerIdOf(testHostKey('Ed25519').publicKey)));
    assert.ok(!peerIdOf(publicKey).equals(parsePeerId(SHA256_TEXT)));
  });
});

describe('refused', () => {
  const key = Buffer.from(vectors['ED25519 public key'] ?? '', 'hex');
  const sha = parsePeerId(SHA256_TEXT).multihash;
  const texts: Record<string, string> = {
    nothing: '',
    'one character': '1',
    'white space': ` ${ED25519_TEXT}`,
    'a character that is not base58': SHA256_TEXT.replace('Y', '0'),
    'a character too few': SHA256_TEXT.slice(0, -1),
    'a character too many': `${SHA256_TEXT}1`,
    'a leading zero byte': `1${ED25519_TEXT}`,
    'a text without a known prefix': 'xyz',
    'a CID with padding': `${CID_TEXT}=`,
    'a CID in capitals': CID_TEXT.toUpperCase(),
    'a CID with spare bits set': `${CID_TEXT.slice(0, -1)}f`,
    'a CID of another codec': base32.encode(Buffer.concat([Buffer.of(0x01, 0x55), sha])),
    'a CID of another version': base32.encode(Buffer.concat([Buffer.of(0x02, 0x72), sha])),
    'a CIDv0 in multibase': base36.encode(sha),
    'a CID without a multihash': base32.encode(Buffer.of(0x01, 0x72)),
    'SHA-256 of 31 bytes': base58btc.baseEncode(Buffer.from([0x12, 0x1f, ...sha.subarray(3)])),
    'SHA-512': base32.encode(cidBytes(Buffer.from([0x13, 0x20, ...sha.subarray(2)]))),
    'an identity of no key': base58btc.baseEncode(identity(Buffer.from('no key'))),
    'an empty identity': base58btc.baseEncode(Buffer.of(0, 0)),
    'an identity of a longer key': base32.encode(
      cidBytes(identity(keyVector('ECDSA public key').protobuf)),
    ),
    'a multihash with a byte too many': base32.encode(cidBytes(Buffer.concat([sha, Buffer.of(0)]))),
    'a length that is not minimal': base32.encode(cidBytes(Buffer.from([0, 0xa4, 0, ...key]))),
  };
  for (const [name, text] of Object.entries(texts)) {
    it(name, () => {
      assert.throws(
        () => parsePeerId(text),
        (error) => isLeanError(error, 'ERR_PEER_ID_MALFORMED'),
      );
    });
  }

  it('a longer key in an identity multihash', () => {
    assert.throws(() => peerIdFromMultihash(identity(keyVector('ECDSA public key').protobuf)), {
      code: 'ERR_PEER_ID_MALFORMED',
      message: /at most 42/,
    });
  });

  it('an endless text, without a look at it', () => {
    assert.throws(() => parsePeerId(`1${'2'.repeat(100_000)}`), {
      code: 'ERR_PEER_ID_MALFORMED',
      message: /text of 100001 characters/,
    });
  });

  it('thousands of damaged ids, without any other kind of error', () => {
    const random = seededRandom(1);
    const id = parsePeerId(ED25519_TEXT);
    const encoder = new TextEncoder();
    for (const text of [SHA256_TEXT, ED25519_TEXT, CID_TEXT, peerIdToCid(id, 'base36')]) {
      for (let round = 0; round < 1_000; round++) {
        const damaged = Buffer.from(mutate(random, encoder.encode(text))).toString('latin1');
        try {
          const parsed = parsePeerId(damaged);
          assert.ok(parsed.equals(parsePeerId(String(parsed))));
        } catch (error) {
          assert.ok(isLeanError(error, 'ERR_PEER_ID_MALFORMED'), `${damaged}: ${error}`);
        }
      }
    }
  });
});
