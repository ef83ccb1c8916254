/** The QUIC transport over real sockets: addresses, and who gets in. Once per engine. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import {
  certificateWithBadExtensionSignature,
  certificateWithoutExtension,
  expiredCertificate,
  makeCertificate,
  notYetValidCertificate,
  type TestCertificate,
  testHostKey,
  twoCertificates,
} from '../../interop/hostile/certificates.ts';
import type { TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey, type KeyType } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { socketAddressOf } from '../../src/multiaddr.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { quicTransport } from '../../src/transports/quic.ts';
import { enginesHere } from '../support/engines.ts';
import { hasIPv6, inbox, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const ANY_PORT = multiaddr('/ip4/127.0.0.1/udp/0/quic-v1');

const wrongCertificates: [string, () => TestCertificate, string][] = [
  ['is expired', expiredCertificate, 'ERR_CERT_EXPIRED'],
  ['is not yet valid', notYetValidCertificate, 'ERR_CERT_NOT_YET_VALID'],
  ['has no libp2p extension', certificateWithoutExtension, 'ERR_CERT_NO_EXTENSION'],
  [
    'has a bad signature in it',
    certificateWithBadExtensionSignature,
    'ERR_CERT_EXTENSION_SIGNATURE',
  ],
  ['is one of two', twoCertificates, 'ERR_CERT_COUNT'],
];

for (const name of await enginesHere(['dialer', 'listener'])) {
  const { engine } = await selectEngine(name, 'listener');
  const hostKey = generateHostKey();
  const tls = issueCertificate(hostKey);
  const transport = quicTransport({ engine, hostKey, tls });
  const peer = peerIdOf(hostKey.publicKey);
  const signal = AbortSignal.timeout(60_000);

  const listen = async (t: TestContext, address = ANY_PORT) => {
    const accepted = inbox<TransportConnection>();
    const refused = inbox<{ error: Error; remote: string }>();
    const listener = await transport.listen(address, {
      onConnection: (connection) => accepted.push(connection),
      onRefused: (error, remote) => refused.push({ error, remote }),
    });
    t.after(() => listener.close());
    return { listener, accepted, refused };
  };

  describe(`quic-v1 over the ${name} engine`, SUITE, () => {
    it('knows its addresses', async () => {
      assert.equal(transport.name, 'quic-v1');
      assert(transport.handles(multiaddr(`/ip6/::1/udp/1/quic-v1/p2p/${peer}`)));
      assert(!transport.handles(multiaddr('/ip4/127.0.0.1/tcp/1')));
      for (const address of ['/ip4/127.0.0.1/tcp/1', '/dns4/localhost/udp/1/quic-v1']) {
        const dial = transport.dial(multiaddr(address), { expectedPeer: undefined, signal });
        assert(isLeanError(await rejection(dial), 'ERR_ADDRESS'), address);
      }
    });

    it('gives both sides a connection with the other one proven', async (t) => {
      const { listener, accepted } = await listen(t);
      const key = generateHostKey();
      const dialer = quicTransport({ engine, hostKey: key, tls: issueCertificate(key) });
      const ours = await dialer.dial(listener.address, { expectedPeer: peer, signal });
      const theirs = await accepted.next();
      assert.equal(ours.role, 'dialer');
      assert.equal(theirs.role, 'listener');
      assert(ours.remotePeer.equals(peer) && theirs.localPeer.equals(peer));
      assert(theirs.remotePeer.equals(ours.localPeer));
      assert(ours.localPeer.equals(peerIdOf(key.publicKey)));
      assert.equal(ours.remoteAddress.toString(), listener.address.toString());
      assert.equal(theirs.remoteAddress.toString(), ours.localAddress.toString());
      assert.equal(ours.description, `quic-v1 (${name})`);
      const stream = await ours.openStream();
      stream.write(Buffer.from('hi'));
      stream.closeWrite();
      const accept = await theirs.acceptStream();
      assert(accept !== null);
      assert.equal((await readAll(accept)).toString(), 'hi');
      await ours.close(7, 'done');
      const closed = await theirs.closed;
      assert.deepEqual([closed.by, closed.code, closed.reason], ['remote', 7, 'done']);
    });

    it('works over IPv6', async (t) => {
      if (!(await hasIPv6())) return t.skip('no IPv6 on this machine');
      const { listener } = await listen(t, multiaddr('/ip6/::1/udp/0/quic-v1'));
      const connection = await transport.dial(listener.address, { expectedPeer: peer, signal });
      assert.match(connection.remoteAddress.toString(), /^\/ip6\/::1\/udp\/\d+\/quic-v1$/);
      return connection.close();
    });

    for (const type of ['RSA', 'Ed25519', 'Secp256k1', 'ECDSA'] as const satisfies KeyType[]) {
      it(`accepts a dialer with a host key of type ${type}`, async (t) => {
        const { listener, accepted } = await listen(t);
        const key = testHostKey(type);
        const quic = await engine.dial(socketAddressOf(listener.address), {
          credentials: makeCertificate({ hostKey: key }),
          authenticate: () => {},
        });
        t.after(() => quic.close());
        assert((await accepted.next()).remotePeer.equals(peerIdOf(key.publicKey)));
      });
    }

    for (const [what, make, code] of wrongCertificates) {
      it(`refuses a dialer whose certificate ${what}, and goes on serving`, async (t) => {
        const { listener, accepted, refused } = await listen(t);
        const quic = await engine
          .dial(socketAddressOf(listener.address), {
            credentials: make(),
            authenticate: () => {},
          })
          .catch(() => undefined);
        const { error, remote } = await refused.next();
        assert(isLeanError(error), String(error));
        assert.equal(error.code, code);
        assert.match(remote, /^\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1$/);
        if (quic !== undefined) assert.notEqual((await quic.closed).by, 'local');
        assert.equal(accepted.size, 0);
        const good = await transport.dial(listener.address, { expectedPeer: peer, signal });
        assert((await accepted.next()).remotePeer.equals(peer));
        await good.close();
      });

      it(`refuses a listener whose certificate ${what}`, async (t) => {
        const listener = await engine.listen({
          address: { host: '127.0.0.1', port: 0 },
          credentials: make(),
          authenticate: () => {},
          onConnection: (connection) => connection.closed.then(() => {}),
        });
        t.after(() => listener.close());
        const address = multiaddr(`/ip4/127.0.0.1/udp/${listener.address.port}/quic-v1`);
        const error = await rejection(transport.dial(address, { expectedPeer: undefined, signal }));
        assert(isLeanError(error), String(error));
        assert.equal(error.code, code);
      });
    }

    it('refuses a listener that is another peer', async (t) => {
      const { listener, accepted } = await listen(t);
      const expectedPeer = peerIdOf(generateHostKey().publicKey);
      const error = await rejection(transport.dial(listener.address, { expectedPeer, signal }));
      assert(isLeanError(error, 'ERR_PEER_ID_MISMATCH'), String(error));
      const good = await transport.dial(listener.address, { expectedPeer: peer, signal });
      await accepted.next();
      await good.close();
    });
  });
}
