/** The participant among peers that misbehave: real processes, real QUIC. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, before, describe, type TestContext, test } from 'node:test';
import {
  certificateWithBadExtensionSignature,
  certificateWithoutExtension,
  certificateWithWrongSelfSignature,
  expiredCertificate,
  notYetValidCertificate,
  twoCertificates,
  validCertificate,
} from '../../interop/hostile/certificates.ts';
import { dialHostile, type HostileOptions } from '../../interop/hostile/hostile-client.ts';
import { noRedis, type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import {
  multiaddrOf,
  parseMultiaddr,
  socketAddressOf,
  withoutPeer,
  withPeer,
} from '../../src/multiaddr.ts';
import { MULTISTREAM, negotiate } from '../../src/multistream.ts';
import { createNode } from '../../src/node/node.ts';
import { PING, PING_SIZE, ping } from '../../src/protocols/ping.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import type { TlsCredentials } from '../../src/tls/credentials.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { enginesHere } from '../support/engines.ts';
import { longEnough } from '../support/long-enough.ts';
import { type Outcome, type Participant, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 240_000 };
/** For what the listener does at once, unless the machine is busy; milliseconds. */
const PATIENCE = 30_000;
const MULTISTREAM_PING = Buffer.concat([
  Buffer.from(`\x13${MULTISTREAM}\n\x11${PING}\n`),
  randomBytes(PING_SIZE),
]);

for (const quicEngine of await enginesHere(['dialer', 'listener'])) {
  describe(`hostile peers of a participant on ${quicEngine}`, {
    skip: noRedis,
    ...SUITE,
  }, () => {
    let redis: RedisServer;
    before(async () => {
      redis = await startRedis();
    });
    after(() => redis?.stop());

    const variables = (role: 'listener' | 'dialer', key: string, timeout = 60) => ({
      IS_DIALER: String(role === 'dialer'),
      TRANSPORT: 'quic-v1',
      QUIC_ENGINE: quicEngine,
      LISTENER_IP: '127.0.0.1',
      REDIS_ADDR: redis.address,
      TEST_KEY: key,
      TEST_TIMEOUT_SECS: String(timeout),
      DEBUG: String(role === 'listener'),
    });

    describe('a dialer', () => {
      interface Hostile {
        readonly serve?: (stream: Stream, connection: QuicConnection) => Promise<void>;
        readonly credentials?: TlsCredentials;
        /** For what has no end; seconds, for machines that are ever busier. */
        readonly timeouts?: readonly [number, ...number[]];
      }

      /** Runs a dialer against a listener of ours that does what `hostile` says. */
      const dial = async (t: TestContext, hostile: Hostile, timeout: number): Promise<Outcome> => {
        const hostKey = generateHostKey();
        const engine = await quicheEngine();
        const listener = await engine.listen({
          address: { host: '127.0.0.1', port: 0 },
          credentials: hostile.credentials ?? issueCertificate(hostKey),
          authenticate: () => undefined,
          onConnection: (connection) => {
            const serve = async (): Promise<void> => {
              for (;;) {
                const stream = await connection.acceptStream();
                if (stream === null) return;
                hostile.serve?.(stream, connection).catch(() => undefined);
              }
            };
            serve().catch(() => undefined);
          },
        });
        t.after(() => listener.close());
        const address = multiaddrOf('quic-v1', listener.address);
        const published =
          hostile.credentials === undefined
            ? withPeer(address, peerIdOf(hostKey.publicKey))
            : address;
        const key = randomBytes(4).toString('hex');
        await redis.send('RPUSH', `${key}_listener_multiaddr`, published.toString());
        const dialer = start([], variables('dialer', key, timeout));
        t.after(() => dialer.dispose());
        return dialer.ended;
      };

      const cases: [what: string, hostile: Hostile, message: RegExp][] = [
        [
          'a listener that never answers multistream-select',
          { serve: () => new Promise(() => undefined), timeouts: [5, 20] },
          /longer than (5|20)000 ms, pinging \/ip4/,
        ],
        [
          'a listener that answers na',
          { serve: async (stream) => void (await negotiate(stream, ['/other/1.0.0'])) },
          /the peer does not support \/ipfs\/ping\/1\.0\.0/,
        ],
        [
          'a listener that does not speak multistream-select',
          {
            serve: async (stream) => {
              stream.write(Buffer.from(`HTTP/1.1 400 Bad Request\r\n${'x'.repeat(80)}`));
            },
          },
          /multistream-select: the peer sent a message without a newline/,
        ],
        [
          'a listener that closes the stream in the middle of a ping',
          {
            serve: async (stream) => {
              await negotiate(stream, [PING]);
              stream.write((await readExactly(stream, PING_SIZE)).subarray(0, 16));
              stream.closeWrite();
            },
          },
          /closed the stream after 16 of 32 bytes/,
        ],
        [
          'a listener that resets the stream in the middle of a ping',
          {
            serve: async (stream) => {
              await negotiate(stream, [PING]);
              await readExactly(stream, PING_SIZE);
              stream.reset(7);
            },
          },
          /reset/,
        ],
        [
          'a listener that closes the connection in the middle of a ping',
          {
            serve: async (stream, connection) => {
              await negotiate(stream, [PING]);
              stream.write((await readExactly(stream, PING_SIZE)).subarray(0, 16));
              await connection.close(9, 'enough');
            },
          },
          /closed by the peer: enough/,
        ],
        [
          'a listener that answers a ping with other bytes',
          {
            serve: async (stream) => {
              await negotiate(stream, [PING]);
              await readExactly(stream, PING_SIZE);
              stream.write(randomBytes(PING_SIZE));
            },
          },
          /answered a ping with other bytes/,
        ],
        ['an expired certificate', { credentials: expiredCertificate() }, /expired/],
        ['a certificate of tomorrow', { credentials: notYetValidCertificate() }, /valid from/],
        [
          'a certificate without the extension',
          { credentials: certificateWithoutExtension() },
          /extension/,
        ],
        [
          'a bad extension signature',
          { credentials: certificateWithBadExtensionSignature() },
          /extension|host key/,
        ],
        [
          'a certificate that another key signed',
          { credentials: certificateWithWrongSelfSignature() },
          /sign/,
        ],
      ];
      for (const [what, hostile, message] of cases) {
        test(`${what}: exit code 1, one line`, HANG, async (t) => {
          await longEnough(hostile.timeouts ?? [50], async (timeout) => {
            const { code, signal, stdout, stderr } = await dial(t, hostile, timeout);
            assert.match(stderr, /^libp2p-lean: [^\n]+\n$/);
            assert.match(stderr, message);
            assert.deepEqual([code, signal, stdout], [1, null, '']);
          });
        });
      }
    });

    describe('a listener', () => {
      let listener: Participant;
      let address: string;
      let socket: SocketAddress;
      before(async () => {
        listener = start([], variables('listener', 'hostile', 900));
        const published = await listener.waitFor(/published .*address=(\S+)/, 'stderr');
        address = published[1] ?? '';
        socket = socketAddressOf(withoutPeer(parseMultiaddr(address)));
      });
      after(() => listener?.dispose());

      /** It must still serve a peer that behaves. */
      const assertServes = async (): Promise<void> => {
        const node = await createNode();
        try {
          const stream = await (await node.dial(address)).newStream(PING);
          await ping(stream);
        } finally {
          await node.close();
        }
      };

      const cases: [what: string, options: HostileOptions, log: RegExp | undefined][] = [
        ['without a certificate', {}, /certificate|372/],
        ['with an expired certificate', { credentials: expiredCertificate() }, /expired/],
        ['with a certificate of tomorrow', { credentials: notYetValidCertificate() }, /valid from/],
        ['with two certificates', { credentials: twoCertificates() }, /2 certificates/],
        [
          'with a bad extension signature',
          { credentials: certificateWithBadExtensionSignature() },
          /extension|host key/,
        ],
        ['without the extension', { credentials: certificateWithoutExtension() }, /extension/],
        [
          'with a certificate that another key signed',
          { credentials: certificateWithWrongSelfSignature() },
          /sign/,
        ],
        // node:quic does not tell its listener of these.
        ['with the wrong ALPN', { credentials: validCertificate(), alpn: 'h3' }, undefined],
      ];
      for (const [what, options, log] of cases) {
        test(`a client ${what} is refused with a reason and not answered`, HANG, async () => {
          const before = listener.stderr().length;
          let lines: string[];
          // Five refusals are logged in a second: the cases before this one may have used them up. A line of theirs
          // may come late, too.
          do {
            const hostile = { ...options, payload: MULTISTREAM_PING };
            const refusal = await dialHostile(socket, hostile, PATIENCE);
            assert.notEqual(refusal.code, undefined, 'no CONNECTION_CLOSE came');
            assert.notEqual(refusal.code, 0);
            assert.equal(refusal.received, 0);
            await assertServes();
            const logged = listener.stderr().slice(before).split('\n');
            lines = logged.filter((it) => / connection:refuse (?!.*\bmore=)/.test(it));
            assert(lines.length < 5, lines.join('\n'));
          } while (log !== undefined && !lines.some((line) => log.test(line)));
        });
      }

      test('the same client with a good certificate is served', HANG, async () => {
        const enough = MULTISTREAM_PING.length;
        const options = { credentials: validCertificate(), payload: MULTISTREAM_PING, enough };
        assert.equal((await dialHostile(socket, options, PATIENCE)).received, enough);
      });

      test('garbage UDP', HANG, async () => {
        const garbage = createSocket('udp4');
        garbage.connect(socket.port, socket.host);
        await once(garbage, 'connect');
        const sent: Promise<void>[] = [];
        for (let i = 0; i < 200; i++) {
          const packet = randomBytes(i < 100 ? 1 + i * 14 : 1200);
          if (i % 2 === 0) packet[0] = 0xc0 | (i & 0x3f);
          if (i % 4 === 0 && packet.length > 5) packet.writeUInt32BE(1, 1);
          sent.push(new Promise((resolve) => garbage.send(packet, () => resolve())));
        }
        // With the kernel, in the order in which the listener gets them: before what is dialled now.
        await Promise.all(sent);
        garbage.close();
        await assertServes();
      });

      test('100 connections that are left half-open', HANG, async () => {
        const quiet = Array.from({ length: 100 }, () =>
          dialHostile(socket, { credentials: validCertificate() }, 50),
        );
        await Promise.all(quiet);
        await assertServes();
      });

      test('after all that, SIGTERM ends it cleanly', HANG, async () => {
        listener.kill('SIGTERM');
        const { code, signal, stdout } = await listener.ended;
        assert.deepEqual([code, signal, stdout], [0, null, '']);
      });
    });
  });
}
