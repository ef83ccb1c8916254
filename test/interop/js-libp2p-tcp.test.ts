/**
 * js-libp2p 3 as a peer over TCP and WebSocket, in both directions, for every secure channel and
 * muxer, over real sockets. It offers them all; our side forces one combination.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { identify as jsIdentify } from '@libp2p/identify';
import { mplex } from '@libp2p/mplex';
import { noise } from '@libp2p/noise';
import { ping as jsPing } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { tls } from '@libp2p/tls';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import type { Connection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { kindOf, withPeer } from '../../src/multiaddr.ts';
import type { MuxerName } from '../../src/mux/muxer.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { identify } from '../../src/protocols/identify.ts';
import { perf } from '../../src/protocols/perf.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import type { SecureChannelName } from '../../src/secure/secure-channel.ts';
import { readExactly, writeAll } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { tcp as leanTcp, websocket } from '../../src/transports/factories.ts';
import { AGENT_VERSION } from '../../src/version.ts';
import { SUITE } from '../support/suite-limit.ts';

const ECHO = '/test/echo/1';
const ONCE = '/test/once/1';
const BULK = 3_000_000;
const stranger = peerIdOf(generateHostKey().publicKey);
const LISTEN = {
  tcp: '/ip4/127.0.0.1/tcp/0',
  ws: '/ip4/127.0.0.1/tcp/0/ws',
  wss: '/ip4/127.0.0.1/tcp/0/tls/ws',
} as const;

const startPeer = async () => {
  const { certificatePem: cert, privateKeyPem: key } = issueCertificate(generateHostKey());
  const peer = await createLibp2p({
    addresses: { listen: Object.values(LISTEN) },
    transports: [tcp(), webSockets({ https: { cert, key } })],
    connectionEncrypters: [noise(), tls()],
    streamMuxers: [yamux(), mplex()],
    connectionMonitor: { enabled: false },
    connectionManager: { inboundConnectionThreshold: Number.POSITIVE_INFINITY },
    services: { ping: jsPing(), identify: jsIdentify({ runOnConnectionOpen: false }) },
  });
  await peer.handle(ECHO, async (stream) => {
    for await (const chunk of stream) {
      if (!stream.send(chunk)) await stream.onDrain();
    }
    await stream.close();
  });
  await peer.handle(ONCE, (stream) => {
    stream.addEventListener('message', ({ data }) => stream.send(data), { once: true });
  });
  return peer;
};

const startNode = (secure: readonly SecureChannelName[], muxers: readonly MuxerName[]) =>
  createNode({
    transports: [
      leanTcp({ secureChannels: secure, muxers }),
      websocket({ secureChannels: secure, muxers, insecureWss: true }),
    ],
  });

describe('js-libp2p over TCP and WebSocket', () => {
  let peer: Awaited<ReturnType<typeof startPeer>>;

  before(async () => {
    // js-libp2p dials with the global WebSocket, which can only be told so.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    peer = await startPeer();
  });
  after(() => peer?.stop());

  const peerAddress = (kind: keyof typeof LISTEN) => {
    const addresses = peer.getMultiaddrs().map((address) => multiaddr(address.toString()));
    const address = addresses.find((it) => kindOf(it) === kind);
    assert(address !== undefined, `no ${kind} among ${addresses.join()}`);
    return address;
  };

  /** js-libp2p reuses a connection that it does not yet know to be closed. */
  const dialUs = async (address: string) => {
    while (peer.getConnections().length > 0) await new Promise((go) => setTimeout(go, 5));
    return peer.dial(multiaddr(address));
  };

  for (const kind of ['tcp', 'ws', 'wss'] as const) {
    for (const secure of ['noise', 'tls'] as const) {
      for (const muxer of ['yamux', 'mplex'] as const) {
        describe(`${kind}/${secure}/${muxer}`, SUITE, () => {
          let node: LeanNode;
          before(async () => {
            node = await startNode([secure], [muxer]);
            node.handle(ECHO, async (stream) => {
              for (;;) {
                const chunk = await stream.read();
                if (chunk === null) return;
                await writeAll(stream, chunk);
              }
            });
            (await node.listen(LISTEN[kind])).address;
          });
          after(() => node?.close());

          const dial = async (use: (connection: Connection) => Promise<void>): Promise<void> => {
            const connection = await node.dial(peerAddress(kind));
            try {
              await use(connection);
            } finally {
              await connection.close();
            }
          };

          it('is dialled, pinged and identified by us', () =>
            dial(async (connection) => {
              assert.equal(connection.description, `${kind}/${secure}/${muxer}`);
              assert.equal(connection.remotePeer.toString(), peer.peerId.toString());
              const stream = await connection.newStream(PING);
              for (let i = 0; i < 3; i++) assert((await ping(stream)) > 0);
              stream.closeWrite();
              assert.equal(await stream.read(), null);
              const told = await identify(connection);
              assert.match(told.agentVersion ?? '', /^js-libp2p\/3\./);
            }));

          it('echoes what we write, many windows of it, and keeps half-closes', () =>
            dial(async (connection) => {
              const data = randomBytes(BULK);
              const stream = await connection.newStream(ECHO);
              const writing = async () => {
                for (let at = 0; at < BULK; at += 100_000) {
                  await writeAll(stream, data.subarray(at, at + 100_000));
                }
                stream.closeWrite();
              };
              const [back] = await Promise.all([readExactly(stream, BULK), writing()]);
              assert(data.equals(back));
              assert.equal(await stream.read(), null);
            }));

          it('refuses a protocol, and we say so, whatever we send: a ping, a short and a long upload', () =>
            dial(async (connection) => {
              for (const use of [
                (stream: Stream) => ping(stream),
                (stream: Stream) => perf(stream, 1, 1),
                (stream: Stream) => perf(stream, BULK, 0),
              ]) {
                // js-libp2p says `na` and resets the stream in the same breath.
                const using = use(await connection.newStream('/nobody/1'));
                await assert.rejects(using, (error) => {
                  assert(isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(error));
                  return true;
                });
              }
            }));

          it('answers on a stream that ends with the first bytes of a new connection', async () => {
            for (let turn = 0; turn < 10; turn++) {
              await dial(async (connection) => {
                const stream = await connection.newStream(ONCE);
                stream.write(Buffer.from('once'));
                stream.closeWrite();
                assert.equal(Buffer.from(await readExactly(stream, 4)).toString(), 'once');
              });
            }
          });

          it('dials, pings and identifies us', async () => {
            const [address] = node.addresses();
            const connection = await dialUs(String(address));
            assert.equal(connection.encryption, { noise: '/noise', tls: '/tls/1.0.0' }[secure]);
            assert.match(connection.multiplexer ?? '', new RegExp(muxer));
            assert((await peer.services.ping.ping(connection.remotePeer)) >= 0);
            const told = await peer.services.identify.identify(connection);
            assert.equal(told.agentVersion, AGENT_VERSION);
            await connection.close();
          });

          it('gets back from us what it writes', async () => {
            const [address] = node.addresses();
            const connection = await dialUs(String(address));
            const data = randomBytes(BULK);
            const stream = await connection.newStream(ECHO);
            const reading = (async () => {
              const chunks: Uint8Array[] = [];
              for await (const chunk of stream) chunks.push(chunk.subarray());
              return Buffer.concat(chunks);
            })();
            for (let at = 0; at < BULK; at += 50_000) {
              if (!stream.send(data.subarray(at, at + 50_000))) await stream.onDrain();
            }
            await stream.close();
            assert(data.equals(await reading));
            await connection.close();
          });

          it('is refused by us when it is not the peer that we dial', async () => {
            const wrong = node.dial(withPeer(peerAddress(kind), stranger));
            await assert.rejects(wrong, (error) => isLeanError(error, 'ERR_PEER_ID_MISMATCH'));
          });
        });
      }
    }
  }
});
