/** What a failed cell leaves behind: one more attempt with traces, a timeline of both sides, links on the page. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noRedis } from '../../interop/redis-server.ts';
import { qlogEvents } from '../../interop/runner/qlog.ts';
import type { Results } from '../../interop/runner/results.ts';
import { whyNoQuinn } from '../support/engines.ts';
import { LAUNCHER } from '../support/participant.ts';

const MATRIX = fileURLToPath(new URL('../../interop/matrix.ts', import.meta.url));
const KILLED = fileURLToPath(new URL('./peers/killed.ts', import.meta.url));
const skip = noRedis || (whyNoQuinn ?? false);

const folder = mkdtempSync(join(tmpdir(), 'libp2p-lean-retry-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const entry = (id: string, command: readonly string[], transport: string): string =>
  `  - { id: ${id}, ours: true, command: ${JSON.stringify([process.execPath, ...command])}, env: { QUIC_ENGINE: quinn }, transports: [${transport}], secureChannels: [tls], muxers: [yamux] }\n`;

const matrix = async (name: string, images: string, flags: readonly string[]) => {
  const out = join(folder, name);
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, `implementations:\n${images}`);
  const args = [MATRIX, '--images', file, '--no-known', '--out', out, ...flags];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, CI: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  const [code] = await once(child, 'close');
  const results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as Results;
  return { code, stdout, out, results };
};

const dies = (transport: string): string =>
  entry('lean', [LAUNCHER, 'transport'], transport) + entry('killed', [KILLED], transport);

test('a peer that dies midway, over QUIC: qlog, keys and both logs on one timeline', {
  skip,
  timeout: 120_000,
}, async () => {
  const run = await matrix('quic', dies('quic-v1'), ['--test-select', 'lean x killed']);
  assert.equal(run.code, 1);
  const [cell] = run.results.cells;
  assert.equal(cell?.attempts.length, 1, 'the retry is none of the attempts');
  assert.equal(cell?.attempts[0]?.trace, undefined);
  assert.equal(cell?.attempts[0]?.dialer.env.QLOGDIR, undefined);
  const { retry } = cell ?? {};
  assert.equal(retry?.failure?.kind, 'listener-exit');
  assert.equal(retry?.dialer.env.DEBUG, 'true');
  assert.ok(retry?.trace);
  const { files, timeline } = retry.trace;
  for (const file of [...files, timeline]) assert.doesNotMatch(file, /^\/|\.\./);
  // Of the killed one, too: what it had written until then.
  for (const role of ['dialer', 'listener']) {
    const qlog = files.find((file) => file.endsWith(`${role}.sqlog`)) ?? '';
    const text = readFileSync(join(run.out, qlog), 'utf8');
    assert.match(text, /packet_sent/, role);
    const keys = files.find((file) => file.includes(`/${role}.traces/tls-keys`)) ?? '';
    assert.match(readFileSync(join(run.out, keys), 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 /m);
  }
  const page = readFileSync(join(run.out, timeline), 'utf8');
  const rows = [
    ...page.matchAll(
      /<tr class="(\w+) (\w+)"><td>([\d.]+)<\/td><td>\w+<\/td><td>\w+<\/td><td>(.*)<\/td>/g,
    ),
  ].map(([, side, from, ms, text]) => ({ side, from, ms: Number(ms), text: text ?? '' }));
  for (const side of ['dialer', 'listener']) {
    for (const from of ['err', 'qlog', 'end']) {
      assert.ok(
        rows.some((row) => row.side === side && row.from === from),
        `${side} ${from}`,
      );
    }
  }
  assert.deepEqual(
    rows,
    rows.toSorted((a, b) => a.ms - b.ms),
  );
  // What is sent is sent before it arrives: the two sides' clocks are brought together.
  const place = (side: string, text: RegExp): number =>
    rows.findIndex((row) => row.side === side && row.from === 'qlog' && text.test(row.text));
  const sent = place('dialer', /packet_sent initial/i);
  const received = place('listener', /packet_received initial/i);
  assert.ok(sent >= 0 && received > sent, `${sent} ${received}`);
  assert.ok(readFileSync(join(run.out, 'results.html'), 'utf8').includes(timeline));
  assert.ok(run.stdout.includes(timeline), run.stdout);
  assert.ok(readFileSync(join(run.out, 'results.md'), 'utf8').includes(timeline));
});

test('over TCP with TLS: the keys; not for a listed failure, nor with --no-retry', {
  skip,
  timeout: 120_000,
}, async () => {
  const select = ['--test-select', 'killed x lean'];
  const run = await matrix('tcp', dies('tcp'), select);
  const { trace } = run.results.cells[0]?.retry ?? {};
  const keys = trace?.files.find((file) => file.includes('/listener.traces/tls-keys')) ?? '';
  assert.match(readFileSync(join(run.out, keys), 'utf8'), /^SERVER_TRAFFIC_SECRET_0 /m);

  const known = join(folder, 'known.yaml');
  const name = 'killed x lean (tcp, tls, yamux)';
  writeFileSync(
    known,
    `known-failures:\n  - tests: ["${name}"]\n    reason: it is killed\n    evidence: docs/matrix.md\n`,
  );
  for (const flags of [['--known', known], ['--no-retry']]) {
    const again = await matrix(`no-retry${flags[0]}`, dies('tcp'), [...select, ...flags]);
    assert.equal(again.results.cells[0]?.status, 'fail');
    assert.equal(again.results.cells[0]?.retry, undefined);
    assert.ok(!readdirSync(join(again.out, 'logs')).includes('retry'));
  }
});

test('merged results keep the retry and its files', { skip, timeout: 120_000 }, async () => {
  const run = await matrix('part', dies('tcp'), ['--test-select', 'killed x lean']);
  const out = join(folder, 'merged');
  const child = spawn(
    process.execPath,
    [MATRIX, 'merge', join(run.out, 'results.json'), '--no-known', '--out', out],
    { stdio: 'ignore' },
  );
  await once(child, 'close');
  const merged = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as Results;
  const { trace } = merged.cells[0]?.retry ?? {};
  assert.match(readFileSync(join(out, trace?.timeline ?? ''), 'utf8'), /<tr class="listener /);
  assert.match(trace?.timeline ?? '', /^logs\/part-1\//);
});

test('qlog of other implementations: reference times, truncated records', () => {
  const go = `\u001e{"qlog_format":"JSON-SEQ","qlog_version":"0.3","title":"quic-go qlog","trace":{"vantage_point":{"type":"client"},"common_fields":{"ODCID":"01","group_id":"01","reference_time":1700000000000.5,"time_format":"relative"}}}
\u001e{"time":1.5,"name":"transport:packet_sent","data":{"header":{"packet_type":"1RTT","packet_number":3},"raw":{"length":40},"frames":[{"frame_type":"stream","stream_id":0,"offset":0,"length":20,"fin":true}]}}
\u001e{"time":2.5,"name":"transport:pack`;
  assert.deepEqual(qlogEvents(go, 5), [
    {
      at: 1_700_000_000_002,
      text: 'transport:packet_sent 1RTT #3 40 bytes stream(stream_id=0 offset=0 length=20 fin=true)',
    },
  ]);
  const wall = go.replace(
    '1700000000000.5',
    '{"clock_type":"monotonic","epoch":"unknown","wall_clock_time":"2023-11-14T22:13:20Z"}',
  );
  assert.equal(qlogEvents(wall, 5)[0]?.at, 1_700_000_000_001.5);
  // ngtcp2 does not say when.
  const none = go.replace('1700000000000.5', '0');
  assert.equal(qlogEvents(none, 1_600_000_000_000)[0]?.at, 1_600_000_000_001.5);
  const whole =
    '{"traces":[{"common_fields":{},"events":[{"time":3,"name":"a:b","data":{"c":1}}]}]}';
  assert.deepEqual(qlogEvents(whole, 1_600_000_000_000), [
    { at: 1_600_000_000_003, text: 'a:b c=1' },
  ]);
  assert.deepEqual(qlogEvents('neither', 5), []);
});
