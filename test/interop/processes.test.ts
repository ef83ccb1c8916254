/** The child processes of the runners: nothing that they print is lost, however busy the runner is. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { start } from '../../interop/runner/processes.ts';

const skip = process.platform === 'linux' ? false : 'it reads /proc';

/** Blocks the event loop until `done`. */
const block = (done: () => boolean): void => {
  while (!done()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
};

/** Whether it has ended, and nobody has asked for its exit code yet. */
const isZombie = (pid: number): boolean =>
  / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\)/, ''));

test('output that the runner had no time to read before the exit', { skip }, async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'libp2p-lean-processes-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const log = path.join(folder, 'child.log');
  const script = `process.once('SIGUSR2', () => { console.log('the result'); process.exit() }); setInterval(() => {}, 1e3); console.log('ready')`;
  const ready = Promise.withResolvers<void>();
  const child = await start({
    command: [process.execPath, '-e', script],
    env: process.env,
    cwd: folder,
    log,
    header: [],
    onStdout: () => ready.resolve(),
  });
  t.after(() => child.stop());
  await ready.promise;

  // The exits of all children are collected when one of them ends: the first one's before its output was read.
  const other = spawn('echo', ['now'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid } = other;
  assert.ok(pid !== undefined);
  other.stdout.once('data', () => {
    process.kill(child.pid, 'SIGUSR2');
    block(() => isZombie(child.pid));
  });
  other.once('exit', () => {
    // The loop then looks at its timers before it looks at its pipes.
    const until = performance.now() + 1_000;
    block(() => performance.now() > until);
  });
  block(() => isZombie(pid));
  await once(other, 'close');
  assert.deepEqual(await child.exited, { code: 0, signal: null, error: undefined });
  assert.equal(child.stdout(), 'ready\nthe result\n');
  assert.match(await readFile(log, 'utf8'), / out {2}the result\n/);
});
