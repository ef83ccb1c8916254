/** Retries of a listener on node:quic, which every client gets: of a crowd, and of one that comes back late. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { isBuiltin } from 'node:module';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { loadQuiche, type QuicheConfig } from '../../../src/quic/quiche/binding.ts';
import { quic } from '../../../src/transports/factories.ts';
import { makeNode } from '../../support/nodes.ts';
import { SUITE } from '../../support/suite-limit.ts';

const HOST = '127.0.0.1';
const CROWD = 1_000;
/** So many at once, which fit into the receive buffer. */
const BATCH = 25;
const ANSWER = { timeout: 10_000 };
/** node:quic takes a token for this long unless it is told otherwise; milliseconds. */
const USUAL_LIFETIME = 10_000;

/** A long header's packet type (RFC 9000 section 17.2). */
const typeOf = (packet: Buffer): number => (packet[0] ?? 0) & 0xf0;
const RETRY = 0xf0;

const configuration = (): QuicheConfig => {
  const config = loadQuiche().Config.withBoringSslCtx(true, true, null, null, null, null);
  config.setApplicationProtos(['libp2p']);
  config.setMaxSendUdpPayloadSize(1_350);
  config.setInitialMaxData(1 << 20);
  return config;
};

const listenerAndSocket = async (t: TestContext): Promise<{ port: number; socket: Socket }> => {
  const listener = await makeNode(t, { transports: [quic({ engine: 'node' })] });
  const { address } = await listener.listen(`/ip4/${HOST}/udp/0/quic-v1`);
  const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
  t.after(() => socket.close());
  socket.bind(0, HOST);
  await once(socket, 'listening');
  return { port: Number(/udp\/(\d+)/.exec(address.toString())?.[1]), socket };
};

describe('a Retry of node:quic', {
  ...SUITE,
  skip: isBuiltin('node:quic') ? false : 'this runtime has no node:quic',
}, () => {
  /** A client's first packet, and what takes an answer and gives the next packet. */
  const clientOf = (socket: Socket, port: number, config: QuicheConfig) => {
    const local = { host: HOST, port: socket.address().port };
    const remote = { host: HOST, port };
    const connection = loadQuiche().Connection.connect(
      ...([null, randomBytes(16), local, remote, config] as const),
    );
    const out = Buffer.alloc(1_350);
    const send = (): void => {
      for (let next = connection.send(out); next !== null; next = connection.send(out)) {
        socket.send(Buffer.from(out.subarray(0, next[0])), port, HOST);
      }
    };
    return { send, take: (packet: Buffer) => connection.recv(packet, { from: remote, to: local }) };
  };

  test('comes for each first packet, however many there are', async (t) => {
    const { port, socket } = await listenerAndSocket(t);
    const config = configuration();
    let retries = 0;
    const arrived = new EventTarget();
    socket.on('message', (packet) => {
      if (typeOf(packet) === RETRY) retries++;
      arrived.dispatchEvent(new Event('retry'));
    });
    for (let begun = 0; begun < CROWD; ) {
      for (let i = 0; i < BATCH; i++, begun++) clientOf(socket, port, config).send();
      const signal = AbortSignal.timeout(ANSWER.timeout);
      while (retries < begun) {
        await once(arrived, 'retry', { signal }).catch(() =>
          assert.fail(`${retries} of ${begun} were answered`),
        );
      }
    }
  });

  test('has a token that a client may come back with late', async (t) => {
    const { port, socket } = await listenerAndSocket(t);
    const client = clientOf(socket, port, configuration());
    client.send();
    const [retry] = (await once(socket, 'message')) as [Buffer];
    assert.equal(typeOf(retry), RETRY);
    client.take(retry);
    await delay(USUAL_LIFETIME + 1_000, undefined, { signal: t.signal });
    client.send();
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.notEqual(typeOf(answer), RETRY);
    // An Initial of the handshake, not a CONNECTION_CLOSE of INVALID_TOKEN, which would be short.
    assert.ok(answer.length >= 1_200, `${answer.length} bytes`);
  });
});
