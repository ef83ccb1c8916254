import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { formatReport } from '../../src/harness/report.ts';

const measured = { handshakePlusOneRtt: 5.0114999, pingRtt: 0.0000004 };

test('unified: four lines of YAML', () => {
  assert.equal(
    formatReport('unified', measured),
    'latency:\n  handshake_plus_one_rtt: 5.011\n  ping_rtt: 0.000\n  unit: ms\n',
  );
});

test("unified: every line passes the runner's own grep and sed", () => {
  const lines = formatReport('unified', measured).trimEnd().split('\n');
  // As `docker compose logs dialer` shows them; the pipe is run-single-test.sh's.
  const logs = lines.map((line) => `a_x_b__quic-v1__dialer  | ${line}\n`).join('');
  const picked = spawnSync(
    'sh',
    [
      '-c',
      String.raw`grep -E "dialer.*\| (latency:|  (handshake_plus_one_rtt|ping_rtt|unit):)" | sed 's/^.*| //'`,
    ],
    { input: logs, encoding: 'utf8' },
  );
  assert.equal(picked.stdout, formatReport('unified', measured));
});

test('legacy: one line of JSON with its own spelling', () => {
  const report = formatReport('legacy', measured);
  assert.match(report, /^[^\n]+\n$/);
  assert.deepEqual(JSON.parse(report), { handshakePlusOneRTTMillis: 5.011, pingRTTMilllis: 0 });
});
