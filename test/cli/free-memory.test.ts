/** `libp2p-lean listen` gives back what a burst has cost it, though glibc would keep it. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { whyNoQuinn } from '../support/engines.ts';
import { longEnough } from '../support/long-enough.ts';
import { run, start } from '../support/participant.ts';

const CLIENT = fileURLToPath(new URL('../support/stalling-client.ts', import.meta.url));
const skip =
  whyNoQuinn ?? (existsSync('/proc/self/status') ? false : 'only Linux tells what is resident');

/** After so long without growth it grows no more; milliseconds. */
const ENOUGH = 20_000;

const residentOf = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);

/** By how much memory grows in a burst. Over QUIC most of that is outside of V8's heap. */
const STACKS = {
  yamux: { listen: ['/ip4/127.0.0.1/tcp/0'], growth: 1.4 },
  quic: { listen: ['--engine', 'quiche', '/ip4/127.0.0.1/udp/0/quic-v1'], growth: 1.2 },
};

for (const stack of ['yamux', 'quic'] as const) {
  test(`memory is given back after a burst over ${stack}`, { skip, timeout: 300_000 }, (t) =>
    // A busy machine may look for the first time when the burst is over.
    longEnough([1, 2, 3], () => burst(t, stack)),
  );
}

const burst = async (t: TestContext, stack: keyof typeof STACKS): Promise<void> => {
  const { listen, growth } = STACKS[stack];
  const listener = start(['listen', ...listen], {});
  t.after(() => listener.dispose());
  const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
  const resident = (): number => residentOf(listener.pid);
  const wait = (ms: number) => delay(ms, undefined, { signal: t.signal });
  // What code and caches take is not given back, and is no burst.
  for (let i = 0; i < 20; i++) assert.equal((await run(['ping', '-c', '1', address])).code, 0);
  const before = resident();
  // Four clients that write to ping streams and never read.
  const clients = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [CLIENT, address, stack, '1100'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    }),
  );
  t.after(() => {
    for (const client of clients) client.kill('SIGKILL');
  });
  let peak = before;
  for (let since = performance.now(); peak < growth * before; await wait(20)) {
    const now = resident();
    if (now > peak) since = performance.now();
    peak = Math.max(peak, now);
    assert(performance.now() - since < ENOUGH, `${before} KiB, at most ${peak}`);
  }
  for (const client of clients) client.kill('SIGKILL');
  // For as long as it takes; the time limit is the test's.
  while (resident() > 1.15 * before) await wait(100);
  t.diagnostic(`${before} KiB, at most ${peak}, now ${resident()}`);
};
