/**
 * libp2p's certificates without the rest of libp2p: two peers issue one each, show them to one another in a
 * handshake of `node:tls`, and each learns who the other is.
 *
 *   node examples/certificate.ts
 */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import {
  generateHostKey,
  isLeanError,
  issueCertificate,
  peerIdOf,
  verifyCertificate,
} from 'libp2p-lean/tls';

/** What a side shows. The libp2p rules are not OpenSSL's: we judge what the other one shows. */
const optionsFor = (hostKey: ReturnType<typeof generateHostKey>) => {
  const { certificatePem, privateKeyPem } = issueCertificate(hostKey);
  return {
    cert: certificatePem,
    key: privateKeyPem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['libp2p'],
    rejectUnauthorized: false,
  } as const;
};

const [alice, bob] = [generateHostKey(), generateHostKey()];
const [aliceId, bobId] = [alice, bob].map(({ publicKey }) => peerIdOf(publicKey));

const server = tls.createServer({ ...optionsFor(alice), requestCert: true });
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
const dialer = tls.connect({ ...optionsFor(bob), host: '127.0.0.1', port });
const [[listener]] = await Promise.all([
  once(server, 'secureConnection') as Promise<TLSSocket[]>,
  once(dialer, 'secureConnect'),
]);
if (listener === undefined) throw new Error('no connection');

const chainOf = (socket: TLSSocket) => [socket.getPeerCertificate(true).raw];
console.log(`the dialer expected ${verifyCertificate(chainOf(dialer), aliceId)}`);
console.log(`the listener met ${verifyCertificate(chainOf(listener))}`);
try {
  verifyCertificate(chainOf(dialer), bobId);
} catch (error) {
  if (!isLeanError(error, 'ERR_PEER_ID_MISMATCH')) throw error;
  console.log(`anybody else is refused: ${error.code}`);
}
dialer.destroy();
listener.destroy();
server.close();
