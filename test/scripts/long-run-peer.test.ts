/** The processes of `make soak`, bench/long-run/peer.ts. */

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Order, Report } from '../../bench/long-run/protocol.ts';

const PEER = fileURLToPath(new URL('../../bench/long-run/peer.ts', import.meta.url));

const start = (t: TestContext, role: 'listen' | 'dial'): ChildProcess => {
  const child = fork(PEER, [role, 'steady', 'quinn'], {
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  t.after(() => child.kill('SIGKILL'));
  return child;
};

const reportOf = async (child: ChildProcess): Promise<Report> => {
  const [report] = (await once(child, 'message')) as [Report];
  return report;
};

test('a dialer at rest stays so when it is told of another listener', {
  timeout: 60_000,
}, async (t) => {
  const listening = await reportOf(start(t, 'listen'));
  assert(listening.say === 'listening');
  const dialer = start(t, 'dial');
  await reportOf(dialer);
  const where = Object.fromEntries(
    Object.entries(listening.addresses).map(([stack, steady]) => [
      stack,
      { steady, mortal: undefined },
    ]),
  );
  const order = (what: Order): boolean => dialer.send(what);
  order({ do: 'dial', where });
  order({ do: 'rest' });
  const telling = setInterval(() => order({ do: 'dial', where }), 50);
  const rested = await reportOf(dialer);
  clearInterval(telling);
  assert(rested.say === 'sample');
  assert.equal(rested.sample.connections, 0);
  const all = Object.values(rested.counts);
  const rounds = all.reduce((sum, it) => sum + it.rounds, 0);
  const ended = all.reduce((sum, it) => sum + it.complete + it.refused + it.wrong.length, 0);
  assert.ok(rounds > 0);
  assert.equal(ended, rounds);
});
