/** What a peer says reaches people escaped and cut, whatever it says and wherever it is printed. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { PERF } from '../../src/protocols/perf.ts';
import { PING } from '../../src/protocols/ping.ts';
import { type Participant, run, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };
const QUIC = '/ip4/127.0.0.1/udp/0/quic-v1';

/** Colours, a title for the terminal, lines that look like ours, text turned around. */
const FORGED = '12D3KooWForged connected from /ip4/192.0.2.1/tcp/1';
const HOSTILE =
  `\u202e\u009b2J\x1b[31mbye\x1b]0;x\x07\r\n${FORGED}\ngnp\u2066\u2028\x7f\u{e0041}` +
  'A'.repeat(300);
const UNSAFE = /[^\P{C}\n]|[\p{Zl}\p{Zp}]/u;

const assertHarmless = (printed: string): void => {
  assert.doesNotMatch(printed, UNSAFE);
  for (const line of printed.split('\n')) {
    assert(!line.includes('Forged') || !line.startsWith('12D3KooWForged'), `forged: ${line}`);
    assert(line.length <= 700, `a line of ${line.length} characters`);
  }
  assert.match(printed, /\\+(x1b|u001b)\[31mbye/, 'what the peer said is told');
};

const nodeFor = async (t: TestContext): Promise<LeanNode> => {
  const node = await createNode();
  t.after(() => node.close());
  return node;
};

/** A node that closes every connection on which a stream is opened, with hostile words. */
const hostileNode = async (t: TestContext): Promise<string> => {
  const node = await nodeFor(t);
  for (const protocol of [PING, PERF]) {
    node.handle(protocol, (_stream, connection) => connection.close(7, HOSTILE));
  }
  return String((await node.listen(QUIC)).address);
};

const startFor = (t: TestContext, ...given: Parameters<typeof start>): Participant => {
  const participant = start(...given);
  t.after(() => participant.dispose());
  return participant;
};

/** Speaks multistream-select over TCP, with hostile words for a protocol. */
const hostileServer = async (t: TestContext): Promise<string> => {
  const message = Buffer.from(`${HOSTILE.slice(0, 100)}\n`);
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(Buffer.concat([Buffer.from([message.length]), message]));
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`;
};

for (const flags of [[], ['--debug']]) {
  test(`listen ${flags}: the reason of a close`, HANG, async (t) => {
    const listener = startFor(t, ['listen', QUIC, ...flags]);
    const [address = ''] = await listener.waitFor(/\/ip4\/\S+/);
    const connection = await (await nodeFor(t)).dial(address);
    await connection.close(7, HOSTILE);
    await listener.waitFor(/ left: |connection:close/, 'stderr');
    listener.kill('SIGTERM');
    const { stderr } = await listener.ended;
    assertHarmless(stderr);
  });
}

test('listen: a dialer that does not speak multistream-select', HANG, async (t) => {
  const listener = startFor(t, ['listen', '/ip4/127.0.0.1/tcp/0']);
  const [, port] = await listener.waitFor(/\/tcp\/(\d+)/);
  const { connect } = await import('node:net');
  const socket = connect(Number(port), '127.0.0.1');
  t.after(() => socket.destroy());
  const message = Buffer.from(`${HOSTILE.slice(0, 100)}\n`);
  socket.write(Buffer.concat([Buffer.from([message.length]), message]));
  await listener.waitFor(/ was refused: [^\n]*\n/, 'stderr');
  assertHarmless(listener.stderr());
});

for (const flags of [[], ['--json'], ['--debug']]) {
  test(`ping ${flags}: the reason of a close`, HANG, async (t) => {
    const { code, stdout, stderr } = await run(['ping', await hostileNode(t), ...flags]);
    assert.equal(code, 1);
    assertHarmless(stderr);
    assertHarmless(flags.includes('--json') ? stdout : stderr);
    assert.doesNotMatch(stdout, UNSAFE);
  });
}

test('perf: the reason of a close', HANG, async (t) => {
  const { code, stderr } = await run(['perf', '--to', await hostileNode(t)]);
  assert.equal(code, 1);
  assertHarmless(stderr);
});

for (const variables of [{}, { DEBUG: 'true' }]) {
  test(`a listener that speaks nothing known ${Object.keys(variables)}`, HANG, async (t) => {
    const { code, stderr } = await run(['ping', await hostileServer(t)], variables);
    assert.equal(code, 1);
    assertHarmless(stderr);
  });
}

describe('what Redis holds', { ...SUITE, skip: noRedis }, () => {
  test('is not an address', HANG, async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const variables = {
      IS_DIALER: 'true',
      TRANSPORT: 'quic-v1',
      REDIS_ADDR: redis.address,
      TEST_KEY: 'k',
      TEST_TIMEOUT_SECS: '50',
    };
    for (const debug of ['false', 'true']) {
      await redis.send('RPUSH', 'k_listener_multiaddr', HOSTILE);
      const { code, stdout, stderr } = await run([], { ...variables, DEBUG: debug });
      assert.deepEqual([code, stdout], [1, '']);
      assertHarmless(stderr);
    }
  });
});
