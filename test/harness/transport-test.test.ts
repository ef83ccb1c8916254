/** The participant as its runners see it: real processes, real Redis, real QUIC. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { isBuiltin } from 'node:module';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { freePort, noRedis, type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { DEFAULT_NODE_LIMITS } from '../../src/node/limits.ts';
import { createNode } from '../../src/node/node.ts';
import { noIPv6 } from '../support/ipv6.ts';
import { longEnough } from '../support/long-enough.ts';
import {
  LAUNCHER,
  type Outcome,
  type Participant,
  run,
  start,
  type Variables,
} from '../support/participant.ts';
import { untilBlocked } from '../support/redis-watch.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 240_000 };
/** Of a whole run, three dialers one after the other among them, on a busy machine; seconds. */
const ENOUGH = '60';
/** For a time limit that is to pass after a process has come so far, on machines that are ever busier; seconds. */
const SOON = [5, 20] as const;
const QUIC_ADDRESS = /^\/ip[46]\/[0-9a-f.:]+\/udp\/\d+\/quic-v1\/p2p\/12D3KooW\w+$/;
const YAML =
  /^latency:\n {2}handshake_plus_one_rtt: (\d+\.\d+)\n {2}ping_rtt: (\d+\.\d+)\n {2}unit: ms\n$/;

type Role = 'listener' | 'dialer';
type Dialect = 'unified' | 'legacy';

const unified = (role: Role, redis: string, key: string, extra: Variables = {}): Variables => ({
  IS_DIALER: String(role === 'dialer'),
  TRANSPORT: 'quic-v1',
  LISTENER_IP: '127.0.0.1',
  REDIS_ADDR: redis,
  TEST_KEY: key,
  TEST_TIMEOUT_SECS: ENOUGH,
  ...extra,
});

const legacy = (role: Role, redis: string, extra: Variables = {}): Variables => ({
  is_dialer: String(role === 'dialer'),
  transport: 'quic-v1',
  ip: '127.0.0.1',
  redis_addr: redis,
  test_timeout_seconds: ENOUGH,
  ...extra,
});

let lastKey = 0;
const freshKey = (): string => `test${++lastKey}`;
const redisKey = (key: string): string => `${key}_listener_multiaddr`;

/** Starts one that the end of the test ends, whatever happens. */
const startFor = (t: TestContext, variables: Variables): Participant => {
  const participant = start([], variables);
  t.after(() => participant.dispose());
  return participant;
};

/** One line that matches, nothing on stdout, and the exit code. */
const assertFailed = (outcome: Outcome, code: number, message: RegExp): void => {
  assert.match(outcome.stderr, /^libp2p-lean: [^\n]+\n$/);
  assert.match(outcome.stderr, message);
  assert.equal(outcome.stdout, '');
  assert.deepEqual([outcome.code, outcome.signal], [code, null]);
};

/** Waits until the listener's address is in Redis, and leaves it there. */
const published = async (redis: RedisServer, key: string): Promise<string> => {
  // Moves it to where it is.
  const reply = await redis.send('BLMOVE', key, key, 'LEFT', 'LEFT', '60');
  const address = reply.split('\r\n')[1];
  assert.ok(address, `nothing was published: ${reply}`);
  return address;
};

describe('transport test', { skip: noRedis, ...SUITE }, () => {
  let redis: RedisServer;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.stop());

  const both: readonly Dialect[] = ['unified', 'legacy'];
  for (const dialect of both) {
    const make = (role: Role, key: string, extra?: Variables): Variables =>
      dialect === 'unified'
        ? unified(role, redis.address, key, extra)
        : legacy(role, redis.address, extra);

    const assertReport = (outcome: Outcome): void => {
      assert.deepEqual([outcome.code, outcome.stderr], [0, '']);
      if (dialect === 'unified') {
        assert.match(outcome.stdout, YAML);
      } else {
        assert.match(
          outcome.stdout,
          /^\{"handshakePlusOneRTTMillis": \d+\.\d+, "pingRTTMilllis": \d+\.\d+\}\n$/,
        );
        JSON.parse(outcome.stdout);
      }
    };

    test(`${dialect}: a dialer reports, a listener ends on SIGTERM`, HANG, async (t) => {
      const key = freshKey();
      const listener = startFor(t, make('listener', key));
      assertReport(await startFor(t, make('dialer', key)).ended);
      listener.kill('SIGTERM');
      const { code, signal, stdout, stderr } = await listener.ended;
      assert.deepEqual([code, signal, stdout, stderr], [0, null, '', '']);
    });

    test(`${dialect}: over IPv6`, { ...HANG, skip: noIPv6 }, async (t) => {
      const key = freshKey();
      const ip = dialect === 'unified' ? { LISTENER_IP: '::1' } : { ip: '::1' };
      startFor(t, make('listener', key, ip));
      assertReport(await startFor(t, make('dialer', key)).ended);
    });

    test(`${dialect}: DEBUG logs every step on stderr, with times`, HANG, async (t) => {
      const key = freshKey();
      const listener = startFor(t, make('listener', key, { DEBUG: 'true' }));
      const dialer = await startFor(t, make('dialer', key, { DEBUG: 'true' })).ended;
      assert.equal(dialer.code, 0, dialer.stderr);
      assertReport({ ...dialer, stderr: '' });
      const steps = [
        'engine:select engine=',
        'fetched ',
        'dial:start ',
        'connection:open peer=',
        'first ping',
      ];
      for (const step of steps)
        assert.ok(dialer.stderr.includes(step), `${step}\n${dialer.stderr}`);
      for (const line of dialer.stderr.trimEnd().split('\n')) {
        assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S/);
      }
      await listener.waitFor(/connection:close/, 'stderr');
      assert.match(
        listener.stderr(),
        /published .*\n[\s\S]*connection:open .*\n[\s\S]*protocol=\/ipfs\/ping\/1.0.0/,
      );
    });
  }

  for (const [ip, skip] of [
    ['0.0.0.0', false],
    ['::', noIPv6],
  ] as const) {
    test(`a listener on ${ip} publishes an address with a host`, { ...HANG, skip }, async (t) => {
      const key = freshKey();
      startFor(t, unified('listener', redis.address, key, { LISTENER_IP: ip }));
      const address = await published(redis, redisKey(key));
      assert.match(address, QUIC_ADDRESS);
      assert.doesNotMatch(address, /^\/ip(4\/0\.0\.0\.0|6\/::)\//);
      const dialer = await startFor(t, unified('dialer', redis.address, key)).ended;
      assert.equal(dialer.code, 0, dialer.stderr);
    });
  }

  test('the address may be a string: perf peers SET it', HANG, async (t) => {
    const [key, copy] = [freshKey(), freshKey()];
    startFor(t, unified('listener', redis.address, key));
    const dialer = startFor(t, unified('dialer', redis.address, copy));
    await redis.send('SET', redisKey(copy), await published(redis, redisKey(key)));
    assert.equal((await dialer.ended).code, 0);
  });

  test(
    'one listener serves one dialer after the other, each with its own result',
    HANG,
    async (t) => {
      const key = freshKey();
      startFor(t, unified('listener', redis.address, key));
      const address = await published(redis, redisKey(key));
      for (const engine of ['auto', 'quiche', 'auto']) {
        const copy = freshKey();
        await redis.send('RPUSH', redisKey(copy), address);
        const extra = { QUIC_ENGINE: engine };
        const dialer = await startFor(t, unified('dialer', redis.address, copy, extra)).ended;
        assert.match(dialer.stdout, YAML, dialer.stderr);
      }
    },
  );

  test('SIGINT and SIGTERM end a dialer that waits: exit code 1, one line', HANG, async (t) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const dialer = startFor(t, unified('dialer', redis.address, freshKey(), { DEBUG: 'true' }));
      await dialer.waitFor(/connected to Redis/, 'stderr');
      dialer.kill(signal);
      const outcome = await dialer.ended;
      assert.match(outcome.stderr, new RegExp(`libp2p-lean: ended by ${signal}, waiting for`));
      assert.deepEqual([outcome.code, outcome.signal, outcome.stdout], [1, null, '']);
    }
  });

  test('SIGTERM: the listener tells its peers before it ends', HANG, async (t) => {
    const key = freshKey();
    const listener = startFor(t, unified('listener', redis.address, key));
    const node = await createNode();
    t.after(() => node.close());
    const connection = await node.dial(await published(redis, redisKey(key)));
    listener.kill('SIGTERM');
    const closed = await connection.closed;
    assert.equal(closed.by, 'remote');
    assert.deepEqual([(await listener.ended).code, listener.stderr()], [0, '']);
  });

  test('a listener that nobody ends fails at its timeout', HANG, async (t) => {
    const listener = startFor(
      t,
      unified('listener', redis.address, freshKey(), { TEST_TIMEOUT_SECS: '1' }),
    );
    assertFailed(await listener.ended, 1, /the test took longer than 1000 ms/);
  });

  test('nothing is published: the dialer says what it waited for', HANG, async (t) => {
    const waited = /waiting for nobody_listener_multiaddr in Redis at 127\.0\.0\.1:\d+$/m;
    await longEnough(SOON, async (seconds) => {
      const limit = { TEST_TIMEOUT_SECS: `${seconds}` };
      const variables = unified('dialer', redis.address, 'nobody', limit);
      const outcome = await startFor(t, variables).ended;
      assertFailed(outcome, 1, waited);
      assertFailed(outcome, 1, new RegExp(`longer than ${seconds}000 ms, waiting`));
    });
  });

  test('garbage and other addresses under the key', HANG, async (t) => {
    const id = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';
    const values: [value: string, message: RegExp][] = [
      ['hello', /held "hello", which is not a multiaddr/],
      ['/ip4/1.2.3.4/udp/1/quic-v1/p2p/x', /which is not a multiaddr/],
      [`/ip4/127.0.0.1/tcp/4001/p2p/${id}`, /which is not a quic-v1 address/],
      [`/ip4/127.0.0.1/udp/4001/quic-v1/webtransport/p2p/${id}`, /which is not a quic-v1 address/],
      ['\u0000\u001b[31m\n', /which is not a multiaddr/],
    ];
    for (const [value, message] of values) {
      const key = freshKey();
      await redis.send('RPUSH', redisKey(key), value);
      assertFailed(await startFor(t, unified('dialer', redis.address, key)).ended, 1, message);
    }
    const key = freshKey();
    await redis.send('HSET', redisKey(key), 'a', 'b');
    const outcome = await startFor(t, unified('dialer', redis.address, key)).ended;
    assertFailed(outcome, 1, /holds a hash; a list or a string was expected/);
  });

  test('a report that cannot be written is a failure', HANG, async (t) => {
    const key = freshKey();
    startFor(t, unified('listener', redis.address, key));
    await published(redis, redisKey(key));
    const line = `("${process.execPath}" "${LAUNCHER}"; echo "exit code $?" >&2) | true`;
    const env = { ...process.env, ...unified('dialer', redis.address, key) };
    const { stderr } = spawnSync('sh', ['-c', line], { env, encoding: 'utf8', timeout: 30_000 });
    assert.match(stderr, /^libp2p-lean: [^\n]*EPIPE[^\n]*\nexit code 1\n$/);
  });

  test('nobody listens at the published address', HANG, async (t) => {
    const key = freshKey();
    const port = await freePort();
    const id = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';
    await redis.send('RPUSH', redisKey(key), `/ip4/127.0.0.1/udp/${port}/quic-v1/p2p/${id}`);
    assertFailed(
      await startFor(t, unified('dialer', redis.address, key)).ended,
      1,
      new RegExp(`${port}`),
    );
  });

  test(
    'a network that holds the first bytes for longer than a node lets a handshake take',
    HANG,
    async (t) => {
      const stack = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };
      const key = freshKey();
      startFor(t, unified('listener', redis.address, key, stack));
      const address = await published(redis, redisKey(key));
      const port = Number(/tcp\/(\d+)/.exec(address)?.[1]);
      const network = createServer((socket) => {
        const onward = connect(port, '127.0.0.1');
        socket.pause().on('error', () => onward.destroy());
        onward.on('error', () => socket.destroy());
        setTimeout(
          () => socket.pipe(onward).pipe(socket),
          DEFAULT_NODE_LIMITS.handshakeTimeout + 500,
        );
      }).listen(0, '127.0.0.1');
      t.after(() => network.close());
      await once(network, 'listening');
      const copy = freshKey();
      const { port: front } = network.address() as AddressInfo;
      await redis.send('RPUSH', redisKey(copy), address.replace(`/tcp/${port}`, `/tcp/${front}`));
      const dialer = await startFor(t, unified('dialer', redis.address, copy, stack)).ended;
      assert.deepEqual([dialer.code, dialer.stderr], [0, '']);
    },
  );

  test('another peer than the published one answers', HANG, async (t) => {
    const key = freshKey();
    startFor(t, unified('listener', redis.address, key));
    const address = await published(redis, redisKey(key));
    const other = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';
    const copy = freshKey();
    await redis.send('RPUSH', redisKey(copy), address.replace(/12D3\w+/, other));
    const outcome = await startFor(t, unified('dialer', redis.address, copy)).ended;
    assertFailed(outcome, 1, new RegExp(`${other}`));
  });
});

describe('transport test and Redis', { skip: noRedis, ...SUITE }, () => {
  test('Redis refuses for the whole run', HANG, async (t) => {
    const port = await freePort();
    await longEnough(SOON, async (seconds) => {
      const timeout = { TEST_TIMEOUT_SECS: `${seconds}` };
      const roles = (['listener', 'dialer'] as const).map((role) =>
        startFor(t, unified(role, `127.0.0.1:${port}`, 'k', timeout)),
      );
      const limit = `longer than ${seconds}000 ms`;
      const waited = new RegExp(`${limit}, waiting for Redis at 127.0.0.1:\\d+ \\(.*ECONNREFUSED`);
      for (const { ended } of roles) assertFailed(await ended, 1, waited);
    });
  });

  test('Redis comes up late', HANG, async (t) => {
    const port = await freePort();
    const debug = { DEBUG: 'true' };
    const listener = startFor(t, unified('listener', `127.0.0.1:${port}`, 'k', debug));
    const dialer = startFor(t, unified('dialer', `127.0.0.1:${port}`, 'k', debug));
    await Promise.all([listener, dialer].map((it) => it.waitFor(/cannot be used yet/, 'stderr')));
    const redis = await startRedis({ port });
    t.after(() => redis.stop());
    const outcome = await dialer.ended;
    assert.match(outcome.stdout, YAML, outcome.stderr);
    assert.equal(outcome.code, 0);
  });

  test('Redis dies while BLPOP waits: for good, or for a while', HANG, async (t) => {
    const debug = { DEBUG: 'true' };
    const { first, patient } = await longEnough([8, 20], async (seconds) => {
      const redis = await startRedis();
      t.after(() => redis.stop());
      const long = { ...debug, TEST_TIMEOUT_SECS: '180' };
      const one = startFor(t, unified('dialer', redis.address, 'k', long));
      const limit = { TEST_TIMEOUT_SECS: `${seconds}` };
      const hasty = startFor(t, unified('dialer', redis.address, 'k', { ...debug, ...limit }));
      await Promise.all([one, hasty].map((it) => it.waitFor(/connected to Redis/, 'stderr')));
      const tooSoon = hasty.ended.then(({ stderr }) => assert.fail(stderr));
      await Promise.race([untilBlocked(redis, 2), tooSoon]);
      await redis.stop();
      const failed = await hasty.ended;
      assert.equal(failed.code, 1);
      const waited = `${seconds}000 ms, waiting for Redis at .*\\(.*(ECONN|closed)`;
      assert.match(failed.stderr, new RegExp(`libp2p-lean: .*${waited}`));
      return { first: redis, patient: one };
    });
    const second = await startRedis({ port: first.port });
    t.after(() => second.stop());
    startFor(t, unified('listener', second.address, 'k'));
    const outcome = await patient.ended;
    assert.match(outcome.stdout, YAML, outcome.stderr);
  });
});

describe('transport test: exit codes of its configuration', SUITE, () => {
  const good = unified('dialer', '127.0.0.1:1', 'k');
  const cases: [what: string, variables: Variables, code: number, message: RegExp][] = [
    [
      'a malformed variable',
      { ...good, IS_DIALER: 'maybe' },
      2,
      /IS_DIALER is "maybe"; it must be true or false/,
    ],
    ['a missing variable', { ...good, TEST_KEY: '' }, 2, /TEST_KEY is not set/],
    ['an unknown transport', { ...good, TRANSPORT: 'pigeon' }, 2, /TRANSPORT is "pigeon"/],
    [
      'an unsupported transport',
      { ...good, TRANSPORT: 'webtransport' },
      127,
      /webtransport is not supported/,
    ],
    [
      'the same in the legacy dialect',
      legacy('dialer', 'x:1', { transport: 'webrtc-direct' }),
      127,
      /webrtc-direct/,
    ],
  ];
  for (const [what, variables, code, message] of cases) {
    test(`${what}: ${code}`, HANG, async () => {
      assertFailed(await run([], variables), code, message);
      assertFailed(await run(['transport'], variables), code, message);
    });
  }

  test('an engine that this runtime lacks: 127', HANG, async (t) => {
    if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
    for (const role of ['listener', 'dialer'] as const) {
      // Nobody listens at that port: it must not wait for Redis to find out.
      const variables = { ...unified(role, '127.0.0.1:1', 'k'), QUIC_ENGINE: 'node' };
      assertFailed(await run([], variables), 127, /node:quic.*NODE_QUIC/);
      assertFailed(await run(['perf'], variables), 127, /node:quic.*NODE_QUIC/);
    }
  });
});
