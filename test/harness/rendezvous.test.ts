import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { freePort, noRedis, startRedis } from '../../interop/redis-server.ts';
import { LeanError } from '../../src/errors.ts';
import { HarnessError } from '../../src/harness/errors.ts';
import { openRendezvous, type Rendezvous } from '../../src/harness/rendezvous.ts';
import { untilBlocked, untilPopped } from '../support/redis-watch.ts';

const HANG = { timeout: 120_000 };
/** Each way, milliseconds. */
const SLOW = 400;
const KEY = 'a5b50d5e_listener_multiaddr';
const ADDRESS =
  '/ip4/10.0.0.1/udp/4001/quic-v1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';

/** Closed at the end of the test, if not before: one that is open keeps the process alive. */
const open = (
  t: TestContext,
  port: number,
  timeout = 90_000,
  host = '127.0.0.1',
): Rendezvous & { events: string[]; nextEvent: () => Promise<void>; timeOut: () => void } => {
  const stop = new AbortController();
  const timeOut = (): void =>
    stop.abort(new LeanError('ERR_TIMEOUT', `timed out after ${timeout / 1000} s`));
  setTimeout(timeOut, timeout).unref();
  const events: string[] = [];
  let told = (): void => {};
  const log = (event: string): void => {
    events.push(event);
    told();
  };
  const nextEvent = (): Promise<void> =>
    new Promise((resolve) => {
      told = resolve;
    });
  const rendezvous = openRendezvous({ redis: { host, port }, key: KEY, signal: stop.signal, log });
  t.after(() => rendezvous.close());
  return { ...rendezvous, events, nextEvent, timeOut };
};

/** Resolves when it has said so. */
const told = async (one: ReturnType<typeof open>, words: string): Promise<void> => {
  while (!one.events.some((it) => it.includes(words))) await one.nextEvent();
};

const fails = async (promise: Promise<unknown>, code: string, message: RegExp): Promise<void> => {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof LeanError || error instanceof HarnessError, String(error));
    assert.match(error.message, message);
    assert.equal(error.code, code);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
};

test('publish and fetch, in either order', { ...HANG, skip: noRedis }, async (t) => {
  const redis = await startRedis();
  const listener = open(t, redis.port);
  const dialer = open(t, redis.port);
  try {
    const early = dialer.fetch();
    await untilPopped(redis, 2);
    await listener.publish(ADDRESS);
    assert.equal(await early, ADDRESS);
    await listener.publish(ADDRESS);
    assert.equal(await dialer.fetch(), ADDRESS);
  } finally {
    listener.close();
    dialer.close();
    await redis.stop();
  }
});

test('publishing replaces whatever the key held', { ...HANG, skip: noRedis }, async (t) => {
  const redis = await startRedis();
  const listener = open(t, redis.port);
  try {
    await redis.send('SET', KEY, 'left over');
    await listener.publish(ADDRESS);
    await listener.publish(ADDRESS);
    assert.equal(await redis.send('LLEN', KEY), ':1\r\n');
  } finally {
    listener.close();
    await redis.stop();
  }
});

test('a string is taken too, also when it is SET while BLPOP waits', {
  ...HANG,
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis();
  const dialer = open(t, redis.port);
  try {
    await redis.send('SET', KEY, `${ADDRESS}\n`);
    assert.equal(await dialer.fetch(), ADDRESS);
    await redis.send('DEL', KEY);
    const waiting = dialer.fetch();
    await untilBlocked(redis);
    await redis.send('SET', KEY, ADDRESS);
    assert.equal(await waiting, ADDRESS);
  } finally {
    dialer.close();
    await redis.stop();
  }
});

test('garbage under the key', { ...HANG, skip: noRedis }, async (t) => {
  const redis = await startRedis();
  const dialer = open(t, redis.port);
  try {
    await redis.send('HSET', KEY, 'a', 'b');
    await fails(
      dialer.fetch(),
      'ERR_REDIS',
      /a5b50d5e_listener_multiaddr.*holds a hash; a list or a string/,
    );
    await redis.send('DEL', KEY);
    await redis.send('RPUSH', KEY, ' ');
    await fails(dialer.fetch(), 'ERR_REDIS', /holds nothing, not a multiaddr/);
    await redis.send('RPUSH', KEY, 'x'.repeat(100_000));
    await fails(dialer.fetch(), 'ERR_REDIS', /holds 100000 characters, not a multiaddr/);
  } finally {
    dialer.close();
    await redis.stop();
  }
});

test('Redis that comes up late', { ...HANG, skip: noRedis }, async (t) => {
  const port = await freePort();
  const listener = open(t, port);
  const dialer = open(t, port);
  const failed = Promise.all([dialer.nextEvent(), listener.nextEvent()]);
  const fetched = dialer.fetch();
  const published = listener.publish(ADDRESS);
  await failed;
  const redis = await startRedis({ port });
  try {
    await published;
    assert.equal(await fetched, ADDRESS);
    assert.deepEqual(dialer.events, [
      `Redis at 127.0.0.1:${port} cannot be used yet`,
      `connected to Redis at 127.0.0.1:${port}`,
    ]);
  } finally {
    listener.close();
    dialer.close();
    await redis.stop();
  }
});

test('Redis that dies while BLPOP waits, and comes back', { ...HANG, skip: noRedis }, async (t) => {
  const first = await startRedis();
  const dialer = open(t, first.port);
  const fetched = dialer.fetch();
  fetched.catch(() => undefined);
  await untilBlocked(first);
  const lost = dialer.nextEvent();
  await first.stop();
  await lost;
  const second = await startRedis({ port: first.port });
  try {
    await second.send('RPUSH', KEY, ADDRESS);
    assert.equal(await fetched, ADDRESS);
  } finally {
    dialer.close();
    await second.stop();
  }
});

test('the deadline says what was waited for', { ...HANG, skip: noRedis }, async (t) => {
  const port = await freePort();
  const refused = open(t, port);
  const first = refused.fetch();
  first.catch(() => undefined);
  await told(refused, 'cannot be used yet');
  refused.timeOut();
  await fails(
    first,
    'ERR_TIMEOUT',
    new RegExp(`^timed out after 90 s, waiting for Redis at 127.0.0.1:${port} \\(.*ECONNREFUSED`),
  );
  refused.close();
  const redis = await startRedis({ port });
  const empty = open(t, port);
  const second = empty.fetch();
  second.catch(() => undefined);
  await untilBlocked(redis);
  empty.timeOut();
  await fails(
    second,
    'ERR_TIMEOUT',
    new RegExp(`^timed out after 90 s, waiting for ${KEY} in Redis at 127.0.0.1:${port}$`),
  );
  empty.close();
  const dying = open(t, port);
  const fetched = dying.fetch();
  fetched.catch(() => undefined);
  await told(dying, 'connected');
  await untilBlocked(redis);
  await redis.stop();
  await told(dying, 'cannot be used yet');
  dying.timeOut();
  await fails(
    fetched,
    'ERR_TIMEOUT',
    /waiting for Redis at .*\(.*(ECONNREFUSED|ECONNRESET|closed)/,
  );
  dying.close();
});

test('closing ends what waits', { ...HANG, skip: noRedis }, async (t) => {
  const redis = await startRedis();
  const dialer = open(t, redis.port);
  try {
    const waiting = dialer.fetch();
    await untilPopped(redis, 2);
    dialer.close();
    await fails(
      waiting,
      'ERR_ABORTED',
      /interrupted, waiting for a5b50d5e_listener_multiaddr in Redis/,
    );
  } finally {
    await redis.stop();
  }
});

test('Redis that wants a password', { ...HANG, skip: noRedis }, async (t) => {
  const redis = await startRedis({ args: ['--requirepass', 'x'] });
  const rendezvous = open(t, redis.port);
  try {
    await fails(rendezvous.fetch(), 'ERR_REDIS', /^Redis at .* refused: NOAUTH/);
    await fails(rendezvous.publish(ADDRESS), 'ERR_REDIS', /^Redis at .* refused: NOAUTH/);
  } finally {
    rendezvous.close();
    await redis.stop();
  }
});

test('a server that does not speak Redis', HANG, async (t) => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const dialer = open(t, port, 800);
  await fails(dialer.fetch(), 'ERR_TIMEOUT', /waiting for Redis at/);
  dialer.close();
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('Redis that is stopped (SIGSTOP): waited for until it goes on', {
  ...HANG,
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis();
  const listener = open(t, redis.port);
  const dialer = open(t, redis.port);
  try {
    const early = dialer.fetch();
    await untilPopped(redis, 2);
    redis.signal('SIGSTOP');
    const published = listener.publish(ADDRESS);
    // The silence is noticed, and told; by both, as Redis may give what was published before to a BLPOP whose connection
    // has been given up.
    await Promise.all([dialer, listener].map((one) => told(one, 'cannot be used yet')));
    redis.signal('SIGCONT');
    await published;
    assert.equal(await early, ADDRESS);
  } finally {
    listener.close();
    dialer.close();
    await redis.stop();
  }
});

test('Redis that stays stopped: the deadline, and what was waited for', {
  ...HANG,
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis();
  redis.signal('SIGSTOP');
  const dialer = open(t, redis.port, 1_000);
  try {
    await fails(dialer.fetch(), 'ERR_TIMEOUT', /^timed out after 1 s, waiting for .*Redis at/);
  } finally {
    dialer.close();
    await redis.stop();
  }
});

test('Redis behind a slow link: both sides get through, and who has no time is told', {
  ...HANG,
  skip: noRedis,
}, async (t) => {
  const redis = await startRedis();
  const proxy = createServer((near) => {
    const far = connect(redis.port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (chunk) => setTimeout(() => to.write(chunk), SLOW));
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const at = proxy.address();
  assert(at !== null && typeof at !== 'string');
  t.after(async () => {
    proxy.close();
    await redis.stop();
  });
  const listener = open(t, at.port);
  const dialer = open(t, at.port);
  const early = dialer.fetch();
  await untilPopped(redis, 2);
  await listener.publish(ADDRESS);
  assert.equal(await early, ADDRESS);
  // Slower than it is given: one line that says what was waited for.
  const hurried = open(t, at.port, SLOW / 2);
  await fails(hurried.fetch(), 'ERR_TIMEOUT', /timed out after/);
  for (const one of [listener, dialer, hurried]) one.close();
});
