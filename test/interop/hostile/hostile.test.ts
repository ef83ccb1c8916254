/** The suite of hostile peers: one attack on a real listener, and how it is judged. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Sight } from '../../../interop/hostile/good-client.ts';
import { keeps, type Outcome, renderOutcomes } from '../../../interop/hostile/report.ts';
import { noRedis } from '../../../interop/redis-server.ts';

const MAIN = fileURLToPath(new URL('../../../interop/hostile/main.ts', import.meta.url));

const start = (args: readonly string[]) =>
  spawn(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });

test('an attack on our listener: a good client is served, the memory is taken, a table comes out', {
  skip: noRedis,
  timeout: 180_000,
}, async (t) => {
  const out = mkdtempSync(join(tmpdir(), 'hostile-'));
  t.after(() => rmSync(out, { recursive: true, force: true }));
  const child = start([
    ...['--implementations', 'libp2p-lean-v0.1', '--attacks', 'tcp-noise'],
    ...['--seconds', '1', '--settle', '1', '--warm-up', '0', '--out', out],
  ]);
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [outcome] = JSON.parse(readFileSync(join(out, 'hostile.json'), 'utf8')) as Outcome[];
  assert(outcome !== undefined, stderr);
  assert.equal(outcome.alive, true);
  assert((outcome.did.messages ?? 0) > 0, stderr);
  assert(outcome.during.pings > 0 && outcome.during.dials > 0);
  assert(outcome.before > 10 << 20 && outcome.peak >= outcome.before);
  // Each refusal that the log tells is the attacker's.
  const log = readFileSync(join(out, 'logs/libp2p-lean-v0.1-tcp-noise/listener.log'), 'utf8');
  assert.match(log, /was refused: /);
  assert.match(stdout, /^### tcp-noise: /m);
  assert.match(stdout, /^\| libp2p-lean-v0\.1 \| /m);
});

test('what is unknown is refused with a line and code 2', async () => {
  const child = start(['--attacks', 'tickling']);
  const [code, stderr] = await Promise.all([once(child, 'exit'), text(child.stderr)]);
  assert.equal(code[0], 2);
  assert.match(stderr, /There is no tickling; it must be one of quic-half-open, /);
});

const SIGHT: Sight = {
  ...{ pings: 10, pingsLost: 0, worstPing: 3, dials: 10, dialsFailed: 0, worstDial: 9 },
  lastError: null,
};
const GOOD: Outcome = {
  ...{ implementation: 'a', ours: true, attack: 'tcp-noise', did: { messages: 7, finished: 1 } },
  ...{ before: 100, peak: 500, after: 120, during: SIGHT, afterwards: SIGHT, alive: true },
  ...{ logBytes: 1, logLines: 1, lastLog: null },
};

const BAD: Outcome = { ...GOOD, implementation: 'b', afterwards: { ...SIGHT, pingsLost: 1 } };

test('it is judged by life, pings, dials and memory', () => {
  assert.equal(keeps(GOOD), true);
  assert.equal(keeps({ ...GOOD, alive: false }), false);
  assert.equal(keeps({ ...GOOD, after: 121 }), false);
  for (const bad of [
    { ...SIGHT, pingsLost: 1 },
    { ...SIGHT, dialsFailed: 1 },
  ]) {
    assert.equal(keeps({ ...GOOD, during: bad }), false);
    assert.equal(keeps({ ...GOOD, afterwards: bad }), false);
  }
  const table = renderOutcomes([{ ...GOOD, during: { ...SIGHT, dialsFailed: 2 } }]);
  assert.match(
    table,
    /\*\*0 of 10 pings, 2 of 10 dials\*\* \| 3, 9 \| 0, 0, 0 \| 1 \| 7 messages \|/,
  );
  assert.match(
    renderOutcomes([{ ...GOOD, alive: false, during: { ...SIGHT, dialsFailed: 2 } }, BAD]),
    /^\| \| a \| b \|\n\|---\|---\|---\|\n\| `tcp-noise` \| 0, 0, 0; 3; \*\*2 of 10 dials lost\*\*; \*\*it ended\*\* \| 0, 0, 0; 3; \*\*afterwards 1 of 10 pings lost\*\* \|\n\n/,
  );
});
