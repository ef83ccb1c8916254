/** The TLS channel over real sockets, directly and through a `Duplex`. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, describe, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { isLeanError, LeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { type PeerId, peerIdOf } from '../../src/identity/peer-id.ts';
import { createTlsContext, secureWithTls } from '../../src/secure/tls.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { issueCertificate, type TlsIdentity } from '../../src/tls/issue.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import type { Wire } from '../../src/wire/wire.ts';
import { socketPair } from '../support/mux-pair.ts';
import { hashAll, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const [YAMUX, MPLEX] = ['/yamux/1.0.0', '/mplex/6.7.0'];
const [ours, theirs] = [generateHostKey(), generateHostKey()];
const [ourPeer, theirPeer] = [peerIdOf(ours.publicKey), peerIdOf(theirs.publicKey)];

describe('the TLS channel', SUITE, () => {
  let ourIdentity: TlsIdentity;
  let theirIdentity: TlsIdentity;
  before(() => {
    [ourIdentity, theirIdentity] = [issueCertificate(ours), issueCertificate(theirs)];
  });

  const sockets = async (t: TestContext) => {
    const pair = await socketPair();
    t.after(() => {
      for (const socket of pair) socket.destroy();
    });
    return pair;
  };
  /** So that it is not taken for a socket's. */
  const withoutSocket = (wire: Wire): Wire => {
    const { detach: _, ...rest } = wire;
    return rest;
  };
  const dialTls = (wire: Wire, expectedPeer?: PeerId, muxers = [YAMUX, MPLEX]) =>
    secureWithTls(wire, createTlsContext(ourIdentity), { role: 'dialer', expectedPeer, muxers });
  const acceptTls = (wire: Wire, muxers = [YAMUX, MPLEX]) =>
    secureWithTls(wire, createTlsContext(theirIdentity), {
      role: 'listener',
      expectedPeer: undefined,
      muxers,
    });

  for (const [how, wrap] of [
    ['over a socket', socketWire],
    ['through a Duplex', (socket, id) => withoutSocket(socketWire(socket, id))],
  ] as readonly [string, typeof socketWire][]) {
    describe(how, SUITE, () => {
      const connect = async (
        t: TestContext,
        dialers = [YAMUX, MPLEX],
        listeners = [YAMUX, MPLEX],
      ) => {
        const [left, right] = await sockets(t);
        return Promise.all([
          dialTls(wrap(left, 'left'), theirPeer, dialers),
          acceptTls(wrap(right, 'right'), listeners),
        ]);
      };

      test('proves both peers', async (t) => {
        const [dialed, accepted] = await connect(t);
        assert(dialed.remotePeer.equals(theirPeer));
        assert(accepted.remotePeer.equals(ourPeer));
      });

      test('agrees on a muxer by ALPN: the dialer’s order counts', async (t) => {
        const cases = [
          [[YAMUX, MPLEX], [MPLEX, YAMUX], YAMUX],
          [[MPLEX, YAMUX], [YAMUX, MPLEX], MPLEX],
          [[YAMUX, MPLEX], [MPLEX], MPLEX],
          [[YAMUX], [MPLEX], undefined],
          [[], [MPLEX], undefined],
        ] as const;
        for (const [dialers, listeners, muxer] of cases) {
          const [dialed, accepted] = await connect(t, [...dialers], [...listeners]);
          assert.deepEqual([dialed.muxer, accepted.muxer], [muxer, muxer]);
        }
      });

      test('carries bytes both ways at once, and ends', async (t) => {
        const [dialed, accepted] = await connect(t);
        const write = async (stream: Stream): Promise<void> => {
          for (let i = 0; i < 64; i++) await writeAll(stream, Buffer.alloc(65_000, i));
          stream.closeWrite();
        };
        const [, , first, second] = await Promise.all([
          write(dialed.wire),
          write(accepted.wire),
          hashAll(accepted.wire),
          hashAll(dialed.wire),
        ]);
        assert.equal(first, second);
      });

      test('what came with the negotiation is not lost', async (t) => {
        const [left, right] = await sockets(t);
        const wire = wrap(right, 'right');
        const dialing = dialTls(wrap(left, 'left'), theirPeer);
        const hello = await wire.read();
        assert(hello !== null);
        wire.unread(hello.subarray(7));
        wire.unread(hello.subarray(0, 7));
        const [dialed, accepted] = await Promise.all([dialing, acceptTls(wire)]);
        dialed.wire.write(Buffer.from('hi'));
        dialed.wire.closeWrite();
        assert.equal(String(await readAll(accepted.wire)), 'hi');
      });

      test('another peer than the one dialled is refused', async (t) => {
        const [left, right] = await sockets(t);
        const accepting = acceptTls(wrap(right, 'right')).then(({ wire }) => wire.read());
        const error = await rejection(dialTls(wrap(left, 'left'), ourPeer));
        assert(isLeanError(error, 'ERR_PEER_ID_MISMATCH'), String(error));
        await accepting.then(
          (chunk) => assert.equal(chunk, null),
          (it) => assert(it instanceof LeanError),
        );
      });

      test('garbage instead of a ClientHello', async (t) => {
        const [left, right] = await sockets(t);
        left.write('GET / HTTP/1.1\r\n\r\n');
        left.resume();
        const error = await rejection(acceptTls(wrap(right, 'right')));
        assert(isLeanError(error, 'ERR_HANDSHAKE'), String(error));
      });

      test('a dialer that leaves in the middle of the handshake', async (t) => {
        const [left, right] = await sockets(t);
        const accepting = rejection(acceptTls(wrap(right, 'right')));
        left.end(Uint8Array.of(0x16, 3, 1, 2, 0));
        left.resume();
        const error = await accepting;
        assert(isLeanError(error, 'ERR_HANDSHAKE'), String(error));
      });
    });
  }

  /** A `node:tls` client against our listener. */
  const attack = async (t: TestContext, options: tls.ConnectionOptions): Promise<LeanError> => {
    const [left, right] = await sockets(t);
    const accepting = rejection(acceptTls(socketWire(right, 'right')));
    const client = tls.connect({ socket: left, rejectUnauthorized: false, ...options });
    client.on('error', () => {});
    client.resume();
    const error = await accepting;
    assert(error instanceof LeanError, String(error));
    return error;
  };

  test('a dialer without a certificate', async (t) => {
    const error = await attack(t, { ALPNProtocols: ['libp2p'] });
    assert.equal(error.code, 'ERR_CERT_MISSING');
  });

  test('a dialer with a certificate that is not libp2p’s', async (t) => {
    const { certificatePem, privateKeyPem } = issueCertificate(generateHostKey());
    const other = issueCertificate(generateHostKey());
    assert.notEqual(other.certificatePem, certificatePem);
    const broken = Buffer.from(other.certificateDer);
    const at = broken.indexOf(Buffer.from('2b0601040183a25a0101', 'hex'));
    broken[at + 9] = 2; // another object identifier
    const pem = `-----BEGIN CERTIFICATE-----\n${broken.toString('base64')}\n-----END CERTIFICATE-----\n`;
    const error = await attack(t, {
      ALPNProtocols: ['libp2p'],
      cert: pem,
      key: other.privateKeyPem,
    });
    assert.match(error.code, /^ERR_CERT_/);
    assert(privateKeyPem.length > 0);
  });

  test('a dialer with TLS 1.2', async (t) => {
    const { certificatePem: cert, privateKeyPem: key } = ourIdentity;
    const error = await attack(t, { ALPNProtocols: ['libp2p'], cert, key, maxVersion: 'TLSv1.2' });
    assert.equal(error.code, 'ERR_HANDSHAKE');
  });

  test('a dialer with another ALPN', async (t) => {
    const { certificatePem: cert, privateKeyPem: key } = ourIdentity;
    const error = await attack(t, { ALPNProtocols: ['h2'], cert, key });
    assert.equal(error.code, 'ERR_HANDSHAKE');
  });

  test('we send no SNI, and our muxers before `libp2p`', async (t) => {
    const [left, right] = await sockets(t);
    const dialing = rejection(dialTls(socketWire(left, 'left')));
    const [hello] = (await once(right, 'data')) as [Buffer];
    right.destroy();
    await dialing;
    assert(hello.includes(Buffer.from(`\x0c${YAMUX}\x0c${MPLEX}\x06libp2p`)));
    assert(!hello.includes(Buffer.from('localhost')));
    // Extension server_name is type 0; its list starts with a host_name of type 0.
    assert.equal(hasExtension(hello, 0), false);
    assert.equal(hasExtension(hello, 16), true);
  });
});

/** Whether a ClientHello in one TLS record has an extension of that type (RFC 8446 section 4.1.2). */
const hasExtension = (record: Buffer, type: number): boolean => {
  let at = 5 + 4 + 2 + 32;
  at += 1 + record.readUInt8(at); // session id
  at += 2 + record.readUInt16BE(at); // cipher suites
  at += 1 + record.readUInt8(at); // compression
  const end = at + 2 + record.readUInt16BE(at);
  for (at += 2; at < end; at += 4 + record.readUInt16BE(at + 2)) {
    if (record.readUInt16BE(at) === type) return true;
  }
  return false;
};
