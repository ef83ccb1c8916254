/** The end of a run does not hang, and does not change what the run found out. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeInTime } from '../../src/harness/closing.ts';

test('what never closes is left behind, with one line', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const lines: string[] = [];
  const closed = closeInTime('the node', () => new Promise(() => {}), lines.push.bind(lines));
  t.mock.timers.tick(5_000);
  await closed;
  assert.deepEqual(lines, ['closing the node took longer than 5000 ms']);
});

test('what closes, closes without a word; what fails to, with one line', async () => {
  const lines: string[] = [];
  const note = (line: string): void => void lines.push(line);
  let closed = 0;
  await closeInTime('the node', async () => closed++, note);
  assert.deepEqual([closed, lines], [1, []]);
  await closeInTime(
    'the node',
    () => {
      throw new Error('not started');
    },
    note,
  );
  assert.deepEqual(lines, ['not started']);
});
