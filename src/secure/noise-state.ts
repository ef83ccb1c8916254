/**
 * Noise_XX_25519_ChaChaPoly_SHA256 (The Noise Protocol Framework, revision 34), without I/O:
 * messages in, messages out. Section numbers below are that document's.
 *
 *     XX:  -> e
 *          <- e, ee, s, es
 *          -> s, se
 */

import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { LeanError } from '../errors.ts';
import { concat } from '../stream/bytes.ts';
import { chacha, TAG_LENGTH } from './chacha.ts';

/** The longest Noise message, tag included (section 3). */
export const MAX_MESSAGE = 65_535;
/** The longest plaintext of a transport message. */
export const MAX_PLAINTEXT = MAX_MESSAGE - TAG_LENGTH;

const PROTOCOL = 'Noise_XX_25519_ChaChaPoly_SHA256';
const KEY_LENGTH = 32;
const EMPTY = new Uint8Array(0);

/** PKCS#8 and SubjectPublicKeyInfo of X25519 (RFC 8410) up to the raw key. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

/** An X25519 key pair. */
export interface NoiseKeyPair {
  /** 32 bytes (RFC 7748 section 5). */
  readonly publicKey: Uint8Array;
  readonly privateKey: KeyObject;
}

export const generateNoiseKeyPair = (): NoiseKeyPair => {
  const { publicKey, privateKey } = generate('x25519', {
    publicKeyEncoding: { format: 'der', type: 'spki' },
  });
  return { publicKey: publicKey.subarray(PUBLIC_PREFIX.length), privateKey };
};

/** Exports only the public key, which saves time; Node's types do not allow that. */
const generate = generateKeyPairSync as unknown as (
  type: 'x25519',
  options: { readonly publicKeyEncoding: { readonly format: 'der'; readonly type: 'spki' } },
) => { readonly publicKey: Buffer; readonly privateKey: KeyObject };

/** The key pair of a 32-byte X25519 secret. */
export const noiseKeyPairFrom = (secret: Uint8Array): NoiseKeyPair => {
  const privateKey = createPrivateKey({
    key: Buffer.concat([PRIVATE_PREFIX, secret]),
    format: 'der',
    type: 'pkcs8',
  });
  return { publicKey: rawPublicKey(createPublicKey(privateKey)), privateKey };
};

const rawPublicKey = (key: KeyObject): Uint8Array =>
  key.export({ format: 'der', type: 'spki' }).subarray(PUBLIC_PREFIX.length);

/** A key and the number of messages it has protected (section 5.1). */
export interface CipherState {
  /** Encrypts one message, given in chunks; ciphertext in chunks, the tag at the end of the last. */
  seal(ad: Uint8Array, chunks: readonly Uint8Array[]): Uint8Array[];
  /** Decrypts one message. @returns `undefined` when it is not authentic; the nonce is then not advanced. */
  open(ad: Uint8Array, chunks: readonly Uint8Array[], tag: Uint8Array): Uint8Array[] | undefined;
}

/** A cipher for one direction: two messages must never share a nonce. @param key 32 bytes. */
export const cipherState = (key: Uint8Array): CipherState => {
  const nonce = Buffer.alloc(12);
  /** Messages so far. 2^53 cannot be reached: 285 years at a million per second. */
  let count = 0;
  const setNonce = (): void => {
    nonce.writeUInt32LE(count % 0x1_0000_0000, 4);
    nonce.writeUInt32LE(Math.floor(count / 0x1_0000_0000), 8);
  };
  return {
    seal: (ad, chunks) => {
      setNonce();
      count++;
      return chacha.seal(key, nonce, ad, chunks);
    },
    open: (ad, chunks, tag) => {
      setNonce();
      const plain = chacha.open(key, nonce, ad, chunks, tag);
      if (plain !== undefined) count++;
      return plain;
    },
  };
};

export interface HandshakeOptions {
  readonly initiator: boolean;
  readonly staticKey: NoiseKeyPair;
  /** Must be the same on both sides; empty in libp2p. */
  readonly prologue?: Uint8Array;
  /** For test vectors only. */
  readonly ephemeralKey?: NoiseKeyPair;
}

/**
 * One side of one handshake. `write` and `read` must be called in turn, by the initiator `write` first, three calls in
 * all; then `finish`.
 */
export interface Handshake {
  /** The next message, with `payload` in it. */
  write(payload: Uint8Array): Uint8Array;
  /**
   * Takes the peer's next message.
   *
   * @returns its payload.
   * @throws ERR_HANDSHAKE when it is too short, not authentic, or holds a key of low order.
   */
  read(message: Uint8Array): Uint8Array;
  /** The peer's static public key, 32 bytes; empty until the message that contains it was read. */
  readonly remoteStatic: Uint8Array;
  /** The handshake hash, for channel binding (section 11.2). */
  readonly hash: Uint8Array;
  /** The two directions' keys (`Split()`, section 5.2). */
  finish(): { send: CipherState; receive: CipherState };
}

/** Starts one side of a handshake. Calls out of turn throw an Error. */
export const startHandshake = (options: HandshakeOptions): Handshake => {
  const { initiator, staticKey } = options;
  // The name has exactly 32 bytes, the hash's length: it is the first hash (section 5.2).
  let hash: Uint8Array = Buffer.from(PROTOCOL, 'latin1');
  let chainingKey = hash;
  let cipher: CipherState | undefined;
  let ephemeral: NoiseKeyPair | undefined;
  let remoteEphemeral: KeyObject | undefined;
  let remoteStatic: Uint8Array = EMPTY;
  /** Messages so far, in both directions. */
  let step = 0;

  const mixHash = (data: Uint8Array): void => {
    hash = createHash('sha256').update(hash).update(data).digest();
  };

  const mixKey = (ours: NoiseKeyPair, theirs: KeyObject | undefined): void => {
    const [first, second] = hkdf(chainingKey, sharedSecret(ours, theirs));
    chainingKey = first;
    cipher = cipherState(second);
  };

  const encryptAndHash = (plain: Uint8Array): Uint8Array => {
    const sealed = cipher === undefined ? plain : concat(cipher.seal(hash, [plain]));
    mixHash(sealed);
    return sealed;
  };

  const decryptAndHash = (sealed: Uint8Array): Uint8Array => {
    if (cipher === undefined) {
      mixHash(sealed);
      return sealed;
    }
    const split = sealed.length - TAG_LENGTH;
    const plain =
      split < 0
        ? undefined
        : cipher.open(hash, [sealed.subarray(0, split)], sealed.subarray(split));
    if (plain === undefined) throw refuse(`message ${step + 1} is not authentic`);
    mixHash(sealed);
    return concat(plain);
  };

  const ownEphemeral = (): NoiseKeyPair => {
    ephemeral ??= options.ephemeralKey ?? generateNoiseKeyPair();
    return ephemeral;
  };

  mixHash(options.prologue ?? EMPTY);

  return {
    write: (payload) => {
      expectTurn(step, initiator, true);
      const parts: Uint8Array[] = [];
      if (step < 2) {
        const key = ownEphemeral().publicKey;
        mixHash(key);
        parts.push(key);
      }
      if (step === 1) mixKey(ownEphemeral(), remoteEphemeral); // ee
      if (step > 0) {
        parts.push(encryptAndHash(staticKey.publicKey)); // s
        mixKey(staticKey, remoteEphemeral); // es of the responder, se of the initiator
      }
      parts.push(encryptAndHash(payload));
      step++;
      return concat(parts);
    },

    read: (message) => {
      expectTurn(step, initiator, false);
      let at = 0;
      const take = (length: number): Uint8Array => {
        if (message.length - at < length) throw refuse(`message ${step + 1} is too short`);
        at += length;
        return message.subarray(at - length, at);
      };
      if (step < 2) {
        const key = take(KEY_LENGTH);
        remoteEphemeral = publicKeyOf(key);
        mixHash(key);
      }
      if (step === 1) mixKey(ownEphemeral(), remoteEphemeral); // ee
      if (step > 0) {
        remoteStatic = Uint8Array.from(decryptAndHash(take(KEY_LENGTH + TAG_LENGTH))); // s
        mixKey(ownEphemeral(), publicKeyOf(remoteStatic)); // es of the initiator, se of the responder
      }
      const payload = decryptAndHash(message.subarray(at));
      step++;
      return payload;
    },

    get remoteStatic() {
      return remoteStatic;
    },

    get hash() {
      return hash;
    },

    finish: () => {
      if (step !== 3) throw new Error('the Noise handshake is not complete');
      const [first, second] = hkdf(chainingKey, EMPTY);
      const toResponder = cipherState(first);
      const toInitiator = cipherState(second);
      return initiator
        ? { send: toResponder, receive: toInitiator }
        : { send: toInitiator, receive: toResponder };
    },
  };
};

/** Messages 0 and 2 are the initiator's. */
const expectTurn = (step: number, initiator: boolean, writing: boolean): void => {
  if (step > 2 || ((step % 2 === 0) === initiator) !== writing) {
    throw new Error('Noise messages out of turn');
  }
};

const publicKeyOf = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw]), format: 'der', type: 'spki' });

/** X25519 (RFC 7748 section 6.1). A public key of low order yields an all-zero secret, which OpenSSL refuses. */
const sharedSecret = (ours: NoiseKeyPair, theirs: KeyObject | undefined): Uint8Array => {
  if (theirs === undefined) throw new Error('Noise messages out of turn');
  try {
    return diffieHellman({ privateKey: ours.privateKey, publicKey: theirs });
  } catch (cause) {
    throw new LeanError('ERR_HANDSHAKE', 'noise: unusable public key', { cause });
  }
};

/** HKDF with two outputs (section 4.3). */
const hkdf = (chainingKey: Uint8Array, input: Uint8Array): [Uint8Array, Uint8Array] => {
  const temporary = hmac(chainingKey, input);
  const first = hmac(temporary, ONE);
  return [first, hmac(temporary, Buffer.concat([first, TWO]))];
};

const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);

const hmac = (key: Uint8Array, data: Uint8Array): Uint8Array =>
  createHmac('sha256', key).update(data).digest();

const refuse = (what: string): LeanError => new LeanError('ERR_HANDSHAKE', `noise: ${what}`);
