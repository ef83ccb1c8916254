import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cappedLog } from '../src/capped-log.ts';
import { createNode } from '../src/node/node.ts';
import { PING } from '../src/protocols/ping.ts';
import { tcp } from '../src/transports/factories.ts';
import { type Participant, start } from './support/participant.ts';

test('a few events are told one by one, the others in a number', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const told: (number | string)[] = [];
  const tell = cappedLog<number>(
    5,
    (event) => told.push(event),
    (count) => told.push(`${count} more`),
  );
  for (let i = 0; i < 1_000; i++) tell(i);
  assert.deepEqual(told.splice(0), [0, 1, 2, 3, 4]);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told.splice(0), ['995 more']);
  tell(1_000);
  t.mock.timers.tick(1_000);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told, [1_000], 'no more were there');
});

test('libp2p-lean listen: lines of refused connections are bounded, their number is told', {
  timeout: 60_000,
}, async (t) => {
  const listener = start(['listen', '/ip4/127.0.0.1/tcp/0']);
  t.after(() => listener.dispose());
  const [, port] = await listener.waitFor(/\/tcp\/(\d+)/);
  const refused = 200;
  for (let i = 0; i < refused; i++) {
    connect(Number(port), '127.0.0.1')
      .on('error', () => {})
      .end('GET /');
  }
  const lines = await told(listener, / was refused: /g, /^and (\d+) more were refused$/gm, refused);
  assert.ok(lines < refused / 2, `${lines} lines`);
});

/** The number of lines about one event, once all `total` events are told of, the others in numbers. */
const told = async (
  listener: Participant,
  line: RegExp,
  more: RegExp,
  total: number,
): Promise<number> => {
  for (;;) {
    const lines = listener.stderr().match(line)?.length ?? 0;
    const others = [...listener.stderr().matchAll(more)].map(([, count]) => Number(count));
    const all = others.reduce((sum, count) => sum + count, lines);
    assert.ok(all <= total, `${all} of ${total}`);
    if (all === total) return lines;
    // For the next line, whichever it is.
    await delay(20);
  }
};

for (const debug of [false, true]) {
  test(`libp2p-lean listen: so are those of what peers do${debug ? ', with --debug' : ''}`, {
    timeout: 60_000,
  }, async (t) => {
    const words = debug ? ['--debug'] : [];
    const listener = start(['listen', ...words, '/ip4/127.0.0.1/tcp/0']);
    t.after(() => listener.dispose());
    const [address] = await listener.waitFor(/^\/ip4\S+$/m);
    const node = await createNode({ transports: [tcp({ secureChannels: ['noise'] })] });
    t.after(() => node.close());
    const connection = await node.dial(address);
    const [rounds, atOnce] = [10, 200];
    for (let round = 0; round < rounds; round++) {
      const open = Array.from({ length: atOnce }, async () => {
        const stream = await connection.newStream(PING);
        stream.closeWrite();
        assert.equal(await stream.read(), null);
      });
      await Promise.all(open);
    }
    const line = debug ? / stream:open peer=/g : / opened \/ipfs\/ping/g;
    const more = debug ? / stream:open more=(\d+)$/gm : /^and (\d+) more streams were opened$/gm;
    const lines = await told(listener, line, more, rounds * atOnce);
    assert.ok(lines < rounds * atOnce, `${lines} lines`);
  });
}
