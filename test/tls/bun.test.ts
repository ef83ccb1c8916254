import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  certificateWithWrongSelfSignature,
  validCertificate,
} from '../../interop/hostile/certificates.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { verifyCertificate } from '../../src/tls/verify.ts';

const bun = fileURLToPath(new URL('../../node_modules/.bin/bun', import.meta.url));
const script = fileURLToPath(new URL('../support/verify-on-bun.ts', import.meta.url));
const skip = existsSync(bun) ? false : 'Bun is not installed (npm ci installs it)';

it('Bun verifies what Node made, and Node what Bun made', { skip }, async () => {
  const hostKey = generateHostKey();
  const { certificateDer } = issueCertificate(hostKey);
  const certificates = [
    certificateDer,
    ...(['RSA', 'Secp256k1', 'ECDSA'] as const).flatMap((type) => validCertificate(type).chain),
    ...certificateWithWrongSelfSignature().chain,
  ];
  const expected = certificates.map((der) => outcome(der));
  assert.equal(expected[0], String(peerIdOf(hostKey.publicKey)));
  assert.equal(expected.at(-1), 'ERR_CERT_SELF_SIGNATURE');

  const args = certificates.map((der) => Buffer.from(der).toString('hex'));
  const { stdout } = await promisify(execFile)(bun, [script, ...args], { timeout: 30_000 });
  const [own = '', ownId, ...found] = stdout.trimEnd().split('\n');
  assert.equal(outcome(Buffer.from(own, 'hex')), ownId);
  assert.deepEqual(found, expected);
});

const outcome = (der: Uint8Array): string => {
  try {
    return String(verifyCertificate([der]));
  } catch (error) {
    return (error as { code: string }).code;
  }
};
