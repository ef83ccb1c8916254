/**
 * Runs on Bun, for test/tls/bun.test.ts: prints a certificate of its own (hex), its peer id, and
 * then for each argument, a certificate as hex, the peer id or the error's code.
 */

import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { verifyCertificate } from '../../src/tls/verify.ts';

const outcome = (der: Uint8Array): string => {
  try {
    return String(verifyCertificate([der]));
  } catch (error) {
    return isLeanError(error) ? error.code : String(error);
  }
};

const hostKey = generateHostKey();
const { certificateDer } = issueCertificate(hostKey);
console.log(Buffer.from(certificateDer).toString('hex'));
console.log(String(peerIdOf(hostKey.publicKey)));
for (const text of process.argv.slice(2)) console.log(outcome(Buffer.from(text, 'hex')));
