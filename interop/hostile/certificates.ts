/**
 * Valid and invalid certificates for tests, made from raw DER with `node:crypto` and not by the issuer under
 * test, so that every field can be set.
 */

import {
  constants,
  generateKeyPairSync,
  type KeyObject,
  type KeyPairKeyObjectResult,
  randomBytes,
  sign,
} from 'node:crypto';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type KeyType, type PublicKey, parsePublicKey } from '../../src/identity/keys.ts';
import type { TlsCredentials } from '../../src/tls/credentials.ts';
import { contextTag, DER, writeElement } from '../../src/tls/der.ts';
import { encodeSignedKey, signedMessage } from '../../src/tls/signed-key.ts';

export interface TestCertificate extends TlsCredentials {
  /** What is in `certificatePem`, DER, leaf first. */
  readonly chain: readonly Uint8Array[];
}

/** A host key of any of the four types. */
export interface TestHostKey {
  readonly publicKey: PublicKey;
  sign(message: Uint8Array): Uint8Array;
}

export interface TestExtension {
  /** Content octets of the object identifier, hex. */
  readonly oid: string;
  readonly critical?: boolean;
  readonly value: Uint8Array;
}

/** What a test can change in a certificate; by default it is valid. */
export interface CertificatePlan {
  readonly hostKey?: TestHostKey;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** The key in the certificate; P-256 by default. */
  readonly key?: KeyPairKeyObjectResult;
  /** What signs the certificate, when not `key`. */
  readonly signingKey?: KeyObject;
  readonly algorithm?: SignatureAlgorithm;
  /** The algorithm in the signed part, when it is to differ. */
  readonly innerAlgorithm?: SignatureAlgorithm;
  /** The extensions, given the right libp2p extension. */
  readonly extensions?: (right: TestExtension, spki: Uint8Array) => readonly TestExtension[];
  /** Fields of the signed part after the subject's key and before the extensions. */
  readonly uniqueIds?: readonly Uint8Array[];
  /** Fields of the signed part after the extensions. */
  readonly surplus?: readonly Uint8Array[];
  /** DER content octets of the version, hex; `02` is version 3. */
  readonly version?: string;
  /** Replaces a validity field's element. */
  readonly notAfterElement?: Uint8Array;
}

export interface SignatureAlgorithm {
  /** AlgorithmIdentifier, DER, hex. */
  readonly identifier: string;
  readonly hash: 'sha1' | 'sha256' | 'sha384' | 'sha512' | null;
  readonly pss?: true;
}

export const ALGORITHMS = {
  ecdsaSha256: { identifier: '300a06082a8648ce3d040302', hash: 'sha256' },
  ecdsaSha384: { identifier: '300a06082a8648ce3d040303', hash: 'sha384' },
  ecdsaSha1: { identifier: '300906072a8648ce3d0401', hash: 'sha1' },
  rsaSha256: { identifier: '300d06092a864886f70d01010b0500', hash: 'sha256' },
  rsaSha1: { identifier: '300d06092a864886f70d0101050500', hash: 'sha1' },
  ed25519: { identifier: '300506032b6570', hash: null },
  rsaPssSha256: {
    identifier:
      '304106092a864886f70d01010a3034a00f300d06096086480165030402010500' +
      'a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120',
    hash: 'sha256',
    pss: true,
  },
  /** Without parameters the hash is SHA-1. */
  rsaPssSha1: { identifier: '300d06092a864886f70d01010a3000', hash: 'sha1', pss: true },
} as const satisfies Record<string, SignatureAlgorithm>;

export const LIBP2P_OID = '2b0601040183a25a0101';
/** An arc reserved for examples: 2.999.1. */
export const UNKNOWN_OID = '883701';

const DAY = 86_400_000;

/** A new host key of that type. RSA ones are made once and shared, as making them is slow. */
export const testHostKey = (type: KeyType): TestHostKey => {
  if (type === 'RSA') {
    rsaHostKey ??= makeHostKey('RSA');
    return rsaHostKey;
  }
  return makeHostKey(type);
};
let rsaHostKey: TestHostKey | undefined;

/** A certificate to plan; without a plan a valid one with an Ed25519 host key. Self-signed. */
export const makeCertificate = (plan: CertificatePlan = {}): TestCertificate => {
  const hostKey = plan.hostKey ?? testHostKey('Ed25519');
  const key = plan.key ?? generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = plan.algorithm ?? ALGORITHMS.ecdsaSha256;
  const spki = key.publicKey.export({ format: 'der', type: 'spki' });
  const right = { oid: LIBP2P_OID, value: signedKeyOf(hostKey, spki) };
  const extensions = plan.extensions?.(right, spki) ?? [right];
  const now = Date.now();
  const tbs = writeElement(
    DER.SEQUENCE,
    writeElement(contextTag(0), writeElement(DER.INTEGER, hex(plan.version ?? '02'))),
    writeElement(DER.INTEGER, Buffer.concat([hex('01'), randomBytes(8)])),
    hex((plan.innerAlgorithm ?? algorithm).identifier),
    NAME,
    writeElement(
      DER.SEQUENCE,
      time(plan.notBefore ?? new Date(now - DAY)),
      plan.notAfterElement ?? time(plan.notAfter ?? new Date(now + DAY)),
    ),
    NAME,
    spki,
    ...(plan.uniqueIds ?? []),
    ...(extensions.length === 0 ? [] : [extensionsField(extensions)]),
    ...(plan.surplus ?? []),
  );
  const certificate = writeElement(
    DER.SEQUENCE,
    tbs,
    hex(algorithm.identifier),
    writeElement(
      DER.BIT_STRING,
      hex('00'),
      signWith(plan.signingKey ?? key.privateKey, algorithm, tbs),
    ),
  );
  return {
    chain: [certificate],
    certificatePem: pem(certificate),
    privateKeyPem: key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
};

/** The value of a right libp2p extension. */
export const signedKeyOf = (hostKey: TestHostKey, spki: Uint8Array): Uint8Array =>
  encodeSignedKey({
    publicKey: hostKey.publicKey.protobuf,
    signature: hostKey.sign(signedMessage(spki)),
  });

/** Valid, with a host key of that type. */
export const validCertificate = (type: KeyType = 'Ed25519'): TestCertificate =>
  makeCertificate({ hostKey: testHostKey(type) });

export const expiredCertificate = (): TestCertificate =>
  makeCertificate({
    notBefore: new Date(Date.now() - 2 * DAY),
    notAfter: new Date(Date.now() - DAY),
  });

export const notYetValidCertificate = (): TestCertificate =>
  makeCertificate({
    notBefore: new Date(Date.now() + DAY),
    notAfter: new Date(Date.now() + 2 * DAY),
  });

/** Two certificates in one PEM, each valid by itself; the private key is the first one's. */
export const twoCertificates = (): TestCertificate => {
  const first = makeCertificate();
  const second = makeCertificate();
  return {
    chain: [...first.chain, ...second.chain],
    certificatePem: first.certificatePem + second.certificatePem,
    privateKeyPem: first.privateKeyPem,
  };
};

export const certificateWithoutExtension = (): TestCertificate =>
  makeCertificate({ extensions: () => [] });

/** The extension's signature is of another certificate's key. */
export const certificateWithBadExtensionSignature = (): TestCertificate => {
  const hostKey = testHostKey('Ed25519');
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  const value = signedKeyOf(hostKey, other.export({ format: 'der', type: 'spki' }));
  return makeCertificate({ hostKey, extensions: (right) => [{ ...right, value }] });
};

/** Signed by another key than the one in it. */
export const certificateWithWrongSelfSignature = (): TestCertificate =>
  makeCertificate({ signingKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey });

export const certificateWithUnknownCriticalExtension = (): TestCertificate =>
  makeCertificate({
    extensions: (right) => [right, { oid: UNKNOWN_OID, critical: true, value: hex('0500') }],
  });

export const certificateWithExtensionTwice = (): TestCertificate =>
  makeCertificate({ extensions: (right) => [right, right] });

/** A `PublicKey` message of any parts, valid or not. */
export const publicKeyMessage = (type: number, data: Uint8Array): Uint8Array =>
  new BinaryWriter()
    .tag(1, WireType.Varint)
    .uint32(type)
    .tag(2, WireType.LengthDelimited)
    .bytes(data)
    .finish();

/** The libp2p encoding of a key of `node:crypto`. */
export const publicKeyOf = (type: KeyType, key: KeyObject): PublicKey => {
  const spki: Uint8Array = key.export({ format: 'der', type: 'spki' });
  if (type === 'RSA') return parsePublicKey(publicKeyMessage(0, spki));
  if (type === 'Ed25519') return parsePublicKey(publicKeyMessage(1, spki.subarray(-32)));
  if (type === 'ECDSA') return parsePublicKey(publicKeyMessage(3, spki));
  const x = spki.subarray(-64, -32);
  const isOdd = (spki.at(-1) ?? 0) & 1;
  return parsePublicKey(publicKeyMessage(2, Buffer.concat([Buffer.of(2 + isOdd), x])));
};

const makeHostKey = (type: KeyType): TestHostKey => {
  const { publicKey, privateKey } = generate(type);
  const hash = type === 'Ed25519' ? null : 'sha256';
  return {
    publicKey: publicKeyOf(type, publicKey),
    sign: (message) => sign(hash, message, privateKey),
  };
};

const generate = (type: KeyType): KeyPairKeyObjectResult => {
  if (type === 'RSA') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (type === 'Ed25519') return generateKeyPairSync('ed25519');
  return generateKeyPairSync('ec', { namedCurve: type === 'ECDSA' ? 'P-256' : 'secp256k1' });
};

const signWith = (key: KeyObject, { hash, pss }: SignatureAlgorithm, tbs: Uint8Array): Buffer =>
  sign(
    hash,
    tbs,
    pss === undefined
      ? key
      : {
          key,
          padding: constants.RSA_PKCS1_PSS_PADDING,
          saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
        },
  );

const extensionsField = (extensions: readonly TestExtension[]): Uint8Array =>
  writeElement(
    contextTag(3),
    writeElement(
      DER.SEQUENCE,
      ...extensions.map(({ oid, critical, value }) =>
        writeElement(
          DER.SEQUENCE,
          writeElement(DER.OID, hex(oid)),
          ...(critical === undefined
            ? []
            : [writeElement(DER.BOOLEAN, hex(critical ? 'ff' : '00'))]),
          writeElement(DER.OCTET_STRING, value),
        ),
      ),
    ),
  );

/** UTCTime before 2050, GeneralizedTime from then on (RFC 5280 section 4.1.2.5). */
const time = (date: Date): Uint8Array => {
  const digits = date.toISOString().replace(/\.\d+|\D/g, '');
  const general = date.getUTCFullYear() >= 2050;
  return writeElement(
    general ? DER.GENERALIZED_TIME : DER.UTC_TIME,
    Buffer.from(`${general ? digits : digits.slice(2)}Z`),
  );
};

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');

/** O=libp2p */
const NAME = hex('3011310f300d060355040a0c066c6962703270');

const pem = (der: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
