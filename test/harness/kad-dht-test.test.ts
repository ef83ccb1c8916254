/** The kad-dht suite's participant: three roles on real sockets and a real Redis. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { noRedis, type RedisServer, sendCommand, startRedis } from '../../interop/redis-server.ts';
import { isLeanError } from '../../src/errors.ts';
import { readKadDhtEnvironment } from '../../src/harness/kad-dht-environment.ts';
import { multihashOf } from '../../src/harness/kad-dht-leniency.ts';
import { runKadDhtTest } from '../../src/harness/kad-dht-test.ts';
import { noLog } from '../../src/harness/log.ts';
import { openRendezvous } from '../../src/harness/rendezvous.ts';
import { createNode } from '../../src/node/node.ts';
import { quic } from '../../src/transports/factories.ts';
import { run } from '../support/participant.ts';

const HANG = { timeout: 120_000, skip: noRedis };

const redisFor = async (t: TestContext): Promise<RedisServer> => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  return redis;
};

interface Role {
  /** What it printed so far. */
  readonly printed: () => string;
  readonly ended: Promise<void>;
  end(): void;
}

/** Starts one role in this process; the end of the test ends it. */
const startRole = (t: TestContext, variables: Readonly<Record<string, string>>): Role => {
  const controller = new AbortController();
  let text = '';
  const config = readKadDhtEnvironment({ TEST_TIMEOUT_SECS: '60', ...variables });
  const ended = runKadDhtTest(config, {
    signal: controller.signal,
    log: noLog,
    print: async (line) => {
      text += line;
    },
  });
  ended.catch(() => undefined);
  t.after(async () => {
    controller.abort();
    await ended.catch(() => undefined);
  });
  return { printed: () => text, ended, end: () => controller.abort() };
};

describe('the kad-dht participant', () => {
  for (const transport of ['tcp', 'quic-v1', 'both']) {
    test(`bootstrap, provider and querier find each other over ${transport}`, HANG, async (t) => {
      const redis = await redisFor(t);
      const shared = { REDIS_ADDR: redis.address, TEST_KEY: 'k1', TRANSPORT: transport };
      const [bootstrap, provider, querier] = ['bootstrap', 'provider', 'querier'].map((ROLE) =>
        startRole(t, { ...shared, ROLE }),
      );
      await querier?.ended;
      assert.equal(querier?.printed(), 'status: pass\n');
      const published = await sendCommand(redis.port, ['GET', 'k1_bootstrap_addr']);
      const wanted = transport === 'quic-v1' ? /\/udp\/\d+\/quic-v1\/p2p\// : /\/tcp\/\d+\/p2p\//;
      assert.match(published, wanted);
      // To be told to end is how these end.
      for (const role of [bootstrap, provider]) {
        role?.end();
        await role?.ended;
        assert.equal(role?.printed(), '');
      }
    });
  }

  test(
    'who closes its side after a request gets the answer whole, and no reset',
    HANG,
    async (t) => {
      const redis = await redisFor(t);
      const shared = { REDIS_ADDR: redis.address, TEST_KEY: 'k5', TRANSPORT: 'quic-v1' };
      startRole(t, { ...shared, ROLE: 'bootstrap' });
      const signal = AbortSignal.timeout(30_000);
      const reading = { redis: { host: '127.0.0.1', port: redis.port }, key: 'k5_bootstrap_addr' };
      const rendezvous = openRendezvous({ ...reading, signal, log: noLog });
      const address = await rendezvous.fetch();
      rendezvous.close();
      const node = await createNode({ transports: [quic()] });
      t.after(() => node.close());
      const stream = await (await node.dial(address)).newStream('/ipfs/kad/1.0.0');
      // FIND_NODE (4) of four bytes.
      stream.write(Buffer.from('080804120474657374', 'hex'));
      const chunks: Uint8Array[] = [];
      for await (const chunk of stream) {
        chunks.push(Uint8Array.from(chunk));
        // As rust-libp2p does; here late, when the bootstrap waits for another request.
        stream.closeWrite();
      }
      const answer = Buffer.concat(chunks);
      assert.equal(answer[0], answer.length - 1);
      assert.equal(answer.subarray(1, 3).toString('hex'), '0804');
    },
  );

  test('a querier whose DHT does not have it says so', HANG, async (t) => {
    const redis = await redisFor(t);
    const shared = { REDIS_ADDR: redis.address, TEST_KEY: 'k2', TRANSPORT: 'tcp' };
    startRole(t, { ...shared, ROLE: 'bootstrap' });
    // A provider that says it is done and has done nothing.
    await sendCommand(redis.port, ['SET', 'k2_provider_done', 'done']);
    const querier = startRole(t, { ...shared, ROLE: 'querier' });
    await assert.rejects(querier.ended, (error) => isLeanError(error, 'ERR_PROTOCOL_VIOLATION'));
    assert.equal(querier.printed(), 'error: "no provider was found"\nstatus: fail\n');
  });

  test('an address that is none is refused, and told', HANG, async (t) => {
    const redis = await redisFor(t);
    await sendCommand(redis.port, ['SET', 'k3_provider_done', 'done']);
    await sendCommand(redis.port, ['SET', 'k3_bootstrap_addr', 'over there']);
    const querier = startRole(t, { REDIS_ADDR: redis.address, TEST_KEY: 'k3', ROLE: 'querier' });
    await assert.rejects(querier.ended, /k3_bootstrap_addr held "over there"/);
    assert.match(querier.printed(), /^error: .*not a multiaddr.*\nstatus: fail\n$/);
  });

  test('a run has an end, whoever is missing', HANG, async (t) => {
    const redis = await redisFor(t);
    const shared = { REDIS_ADDR: redis.address, TEST_KEY: 'k4', TEST_TIMEOUT_SECS: '1' };
    for (const ROLE of ['provider', 'querier']) {
      await assert.rejects(startRole(t, { ...shared, ROLE }).ended, (error) =>
        isLeanError(error, 'ERR_TIMEOUT'),
      );
    }
  });

  test('as a process: a wrong environment is one line and exit code 2', HANG, async () => {
    const outcome = await run(['kad-dht'], { ROLE: 'nobody', REDIS_ADDR: 'redis:6379' });
    const line = 'ROLE is "nobody"; it must be one of bootstrap, provider, querier';
    assert.deepEqual(
      [outcome.code, outcome.stdout, outcome.stderr],
      [2, '', `libp2p-lean: ${line}\n`],
    );
  });
});

test('provider keys: a SHA-256 multihash stands for itself, all else for its SHA-256', () => {
  const multihash = Buffer.concat([Buffer.from([0x12, 0x20]), Buffer.alloc(32, 7)]);
  assert.equal(multihashOf(multihash), multihash);
  // sha256("interop-test-key-a5b50d5e"), by sha256sum.
  const hashed = multihashOf(Buffer.from('interop-test-key-a5b50d5e'));
  assert.equal(Buffer.from(hashed).toString('hex'), HASHED);
  assert.notDeepEqual(multihashOf(multihash.subarray(0, 33)), multihash.subarray(0, 33));
});

const HASHED = '12202df122805569241284f3c9c47edad7dac18a600b8fa1c5c796c809538ea6ccd1';
