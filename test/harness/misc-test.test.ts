/** The misc suite's participant: real processes and Redis, and js-libp2p's echo as pull request 22 has it. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { identify as jsIdentify } from '@libp2p/identify';
import type { Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import { isHarnessError } from '../../src/harness/errors.ts';
import { isMiscSuite, readMiscEnvironment } from '../../src/harness/misc-environment.ts';
import { createNode } from '../../src/node/node.ts';
import { ECHO, echo, handleEcho } from '../../src/protocols/echo.ts';
import { tcp as leanTcp } from '../../src/transports/factories.ts';
import { run, start, type Variables } from '../support/participant.ts';

const HANG = { timeout: 60_000 };
const MEASURED =
  /^measurements:\n {2}(echo|identify)_rtt: \d+\.\d{3}\n {2}(payload_bytes|protocol_count): \d+\n {2}unit: ms\n$/;
const PINGED = /^latency:\n {2}handshake_plus_one_rtt: /;
const TCP = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };

describe('the misc participant', { skip: noRedis }, () => {
  for (const [protocol, report] of [
    ['ping', PINGED],
    ['echo', MEASURED],
    ['identify', MEASURED],
  ] as const) {
    for (const stack of [{ TRANSPORT: 'quic-v1' }, TCP]) {
      test(`${protocol} over ${stack.TRANSPORT}`, HANG, async (t) => {
        const redis = await startRedis();
        t.after(() => redis.stop());
        const variables = (isDialer: boolean): Variables => ({
          ...stack,
          PROTOCOL: protocol,
          IS_DIALER: String(isDialer),
          LISTENER_IP: '127.0.0.1',
          REDIS_ADDR: redis.address,
          TEST_KEY: 'misc',
          TEST_TIMEOUT_SECS: '50',
        });
        // As a container is run: without arguments.
        const listener = start([], variables(false));
        t.after(() => listener.dispose());
        const dialer = await run([], variables(true));
        assert.deepEqual([dialer.code, dialer.stderr], [0, '']);
        assert.match(dialer.stdout, report);
        listener.kill('SIGTERM');
        assert.equal((await listener.ended).code, 0);
      });
    }
  }

  test('an unknown protocol: one line, and 2', HANG, async () => {
    const { code, stdout, stderr } = await run(['misc'], { ...TCP, PROTOCOL: 'bitswap' });
    const line = 'PROTOCOL is "bitswap"; it must be one of ping, echo, identify';
    assert.deepEqual([code, stdout, stderr], [2, '', `libp2p-lean: ${line}\n`]);
  });
});

test('PROTOCOL is what tells the misc suite; without it `misc` pings', () => {
  const environment = { ...TCP, IS_DIALER: 'true', REDIS_ADDR: 'r:1', TEST_KEY: 'k' };
  assert.equal(isMiscSuite(environment), false);
  assert.equal(isMiscSuite({ ...environment, PROTOCOL: 'echo' }), true);
  assert.equal(readMiscEnvironment(environment).protocol, 'ping');
  assert.equal(readMiscEnvironment({ ...environment, protocol: 'identify' }).protocol, 'identify');
  assert.throws(
    () => readMiscEnvironment({ ...environment, PROTOCOL: 'Echo' }),
    (error) => isHarnessError(error, 'ERR_CONFIG'),
  );
});

/** A js-libp2p node over TCP; its echo collects all, then answers, as the pull request's listener does. */
const startJs = async (t: TestContext) => {
  const node = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: jsIdentify() },
  });
  t.after(() => node.stop());
  await node.handle(ECHO, async (stream: Stream) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk.subarray());
    for (const chunk of chunks) stream.send(chunk);
    await stream.close();
  });
  return node;
};

const PAYLOAD = Buffer.alloc(100_000, 'echo');

test("our dialer with js-libp2p's echo", HANG, async (t) => {
  const js = await startJs(t);
  const node = await createNode({ transports: [leanTcp()] });
  t.after(() => node.close());
  const connection = await node.dial(`${js.getMultiaddrs()[0]}`);
  await echo(await connection.newStream(ECHO), PAYLOAD);
});

test("js-libp2p's dialer with our echo", HANG, async (t) => {
  const js = await startJs(t);
  const node = await createNode({ transports: [leanTcp()] });
  t.after(() => node.close());
  node.handle(ECHO, (stream) => handleEcho(stream));
  const { address } = await node.listen('/ip4/127.0.0.1/tcp/0');
  const connection = await js.dial(multiaddr(`${address}`));
  const stream = await connection.newStream(ECHO);
  stream.send(PAYLOAD);
  await stream.close();
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk.subarray());
  assert.deepEqual(Buffer.concat(chunks), PAYLOAD);
});
