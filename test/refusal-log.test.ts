import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test from 'node:test';
import { refusalLog } from '../src/refusal-log.ts';
import { start } from './support/participant.ts';

test('a few refusals are told one by one, the others in a number', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const told: (number | string)[] = [];
  const refuse = refusalLog<number>(
    (refusal) => told.push(refusal),
    (count) => told.push(`${count} more`),
  );
  for (let i = 0; i < 1_000; i++) refuse(i);
  assert.deepEqual(told.splice(0), [0, 1, 2, 3, 4]);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told.splice(0), ['995 more']);
  refuse(1_000);
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
  const counts = (): readonly [lines: number, more: number] => {
    const more = [...listener.stderr().matchAll(/^and (\d+) more were refused$/gm)];
    const lines = listener.stderr().match(/ was refused: /g)?.length ?? 0;
    return [lines, more.reduce((sum, [, count]) => sum + Number(count), 0)];
  };
  for (let summaries = 1; counts()[0] + counts()[1] < refused; summaries++) {
    await listener.waitFor(new RegExp(`(more were refused[^]*){${summaries}}`), 'stderr');
  }
  const [lines, more] = counts();
  assert.equal(lines + more, refused);
  assert.ok(lines < refused / 2, `${lines} lines`);
});
