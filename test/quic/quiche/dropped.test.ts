/**
 * What connections leave behind that were dropped without a word: nothing that grows. Over real sockets;
 * DROPPED=3000 for as many in each wave, and figures.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { queryObjects, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { loadQuiche } from '../../../src/quic/quiche/binding.ts';
import { QuicheConnection } from '../../../src/quic/quiche/connection.ts';
import { quicheEngine } from '../../../src/quic/quiche/engine.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';

const DIALERS = fileURLToPath(new URL('../../support/silent-dialers.ts', import.meta.url));
const MIB = 1 << 20;
const COUNT = Number(process.env.DROPPED ?? 60);
const WAVES = 2;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

test('connections that were dropped silently leave nothing', { timeout: 300_000 }, async (t) => {
  let open = 0;
  let accepted = 0;
  const listener = await (await quicheEngine()).listen({
    address: { host: '127.0.0.1', port: 0 },
    credentials: await issueTestCredentials('listener'),
    authenticate: () => {},
    limits: { idleTimeout: 3_000 },
    onConnection: (connection) => {
      open++;
      accepted++;
      connection.closed.then(() => open--, assert.fail);
    },
  });
  t.after(() => listener.close());
  /** Of the binding; its prototype is among them. */
  const handles = (): number =>
    Number(queryObjects(loadQuiche().Connection as never, { format: 'count' }));
  let first: { handles: number; rss: number } | undefined;
  const figures = (): string => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const [all, js, outside] = [rss, heapUsed, external].map((bytes) => (bytes / MIB).toFixed(0));
    return `${all} MiB, of which ${js} + ${outside} are known to V8`;
  };
  t.diagnostic(`at first ${figures()}`);
  for (let wave = 1; wave <= WAVES; wave++) {
    const child = spawn(process.execPath, [DIALERS, `${listener.address.port}`, `${COUNT}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    const peak = figures();
    const most = handles();
    child.kill('SIGKILL');
    while (open > 0) await delay(100);
    let left = Number.POSITIVE_INFINITY;
    while (left > 0) {
      gc();
      left = Number(queryObjects(QuicheConnection, { format: 'count' }));
      await delay(100);
    }
    gc();
    t.diagnostic(`wave ${wave} of ${COUNT}: ${peak}; dropped: ${figures()}; ${handles()} handles`);
    const now = { handles: handles(), rss: process.memoryUsage.rss() };
    first ??= now;
    assert(most > now.handles, `${most} handles while the connections were open`);
    assert.equal(now.handles, first.handles);
    // What the allocator keeps after the first wave is used again.
    assert(now.rss < 1.5 * first.rss, `${now.rss} bytes of resident memory, ${first.rss} before`);
  }
  assert(accepted >= WAVES * COUNT);
});
