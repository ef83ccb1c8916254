/** The runner of the kad-dht suite: its cells, and what it makes of participants that misbehave. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allKadDhtCells, kadDhtTestKeyOf, selectKadDhtCells } from '../../interop/kad-dht/cells.ts';
import type { KadDhtResults } from '../../interop/kad-dht/results.ts';
import { noRedis } from '../../interop/redis-server.ts';
import { parseImages } from '../../interop/runner/images.ts';
import { SUITE } from '../support/suite-limit.ts';

const RUNNER = fileURLToPath(new URL('../../interop/kad-dht.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'libp2p-lean-kad-dht-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const images = parseImages(
  'test',
  `
test-aliases:
  - { alias: small, value: a }
implementations:
  - { id: a, ours: true, transports: [tcp, quic-v1], secureChannels: [noise], muxers: [yamux] }
  - { id: b, transports: [tcp], secureChannels: [noise], muxers: [yamux] }
`,
);

describe('cells of the kad-dht suite', () => {
  test('every bootstrap × provider × querier over each transport that all three have', () => {
    const names = allKadDhtCells(images).map(({ name }) => name);
    assert.deepEqual(names, [
      ...['a_x_a_x_a', 'a_x_a_x_b', 'a_x_b_x_a', 'a_x_b_x_b'],
      ...['b_x_a_x_a', 'b_x_a_x_b', 'b_x_b_x_a', 'b_x_b_x_b'],
      'a_x_a_x_a (quic-v1)',
    ]);
    const theirs = allKadDhtCells(images).filter(({ ours }) => !ours);
    assert.deepEqual(
      theirs.map(({ name }) => name),
      ['b_x_b_x_b'],
    );
  });

  test("TEST_KEY is upstream's: echo -n py_x_py_x_dotnet | sha256sum | cut -c1-8", () => {
    assert.equal(kadDhtTestKeyOf('py_x_py_x_dotnet'), 'a1e82393');
    assert.notEqual(kadDhtTestKeyOf('py_x_py_x_dotnet', 2), 'a1e82393');
  });

  test('selection by implementation, transport and name; unknown names are refused', () => {
    const names = (selection: Parameters<typeof selectKadDhtCells>[1]) =>
      selectKadDhtCells(images, selection).map(({ name }) => name);
    assert.deepEqual(names({ implSelect: '~small' }), ['a_x_a_x_a', 'a_x_a_x_a (quic-v1)']);
    assert.deepEqual(names({ implIgnore: 'b', transportSelect: 'quic-v1' }), [
      'a_x_a_x_a (quic-v1)',
    ]);
    assert.deepEqual(names({ testSelect: 'b_x_a_x_a' }), ['b_x_a_x_a']);
    assert.throws(() => names({ implSelect: 'zig' }), /--impl-select: "zig" matches none/);
  });
});

/** A participant that does, in each role, what a line of JavaScript says. */
const participant = (roles: Readonly<Record<string, string>>): string[] => {
  const file = join(folder, `${Math.random().toString(36).slice(2)}.cjs`);
  const forever = 'setInterval(() => {}, 1000)';
  writeFileSync(
    file,
    `const roles = ${JSON.stringify(roles)};
     const { ROLE, REDIS_ADDR, TEST_KEY, TRANSPORT } = process.env;
     if (!REDIS_ADDR || !/^[0-9a-f]{8}$/.test(TEST_KEY) || TRANSPORT !== 'tcp') process.exit(9);
     eval(roles[ROLE] ?? ${JSON.stringify(forever)});`,
  );
  return [process.execPath, file];
};

const PASS = "console.log('status: pass')";

const runSuite = async (
  roles: Readonly<Record<string, string>>,
  {
    ours = true,
    known = '',
    timeout = 60,
  }: { ours?: boolean; known?: string; timeout?: number } = {},
) => {
  const command = participant(roles);
  const file = join(folder, 'images.yaml');
  const entry = `{ id: x, ours: ${ours}, command: ${JSON.stringify(command)}, transports: [tcp], secureChannels: [noise], muxers: [yamux] }`;
  writeFileSync(file, `implementations:\n  - ${entry}\n`);
  const list = join(folder, 'known.yaml');
  writeFileSync(list, known);
  const out = join(folder, 'out');
  const flags = ['--images', file, '--known', list, '--out', out, '--timeout', `${timeout}`];
  const child = spawn(process.execPath, [RUNNER, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.resume();
  const [code] = await once(child, 'close');
  const results = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as KadDhtResults;
  const [cell] = results.cells;
  assert.ok(cell !== undefined);
  return { code, stdout, verdict: cell.verdict, failure: cell.attempts[0]?.failure ?? null };
};

const LISTED = `known-failures:
  - tests: [x_x_x_x_x]
    reason: it is a test
    evidence: test/interop/kad-dht-suite.test.ts
`;

describe('verdicts of the kad-dht suite', { skip: noRedis, ...SUITE }, () => {
  test('a querier that says so passes', async () => {
    const { code, verdict, failure, stdout } = await runSuite({ querier: PASS });
    assert.deepEqual([code, verdict, failure], [0, 'pass', null]);
    assert.match(stdout, /^1 of 1 cells passed/);
  });

  for (const [what, roles, message, timeout] of [
    ['exits with another code', { querier: `${PASS}; process.exitCode = 3` }, /code 3/],
    [
      'says why',
      { querier: "console.log('error: lost\\nstatus: fail'); process.exitCode = 1" },
      /code 1: "error: lost"/,
    ],
    [
      'says fail, and exits with 0',
      { querier: "console.log('status: fail')" },
      /said status: fail/,
    ],
    ['says nothing', { querier: '0' }, /never said status: pass/],
    ['never ends', {}, /timed out after 1 s/, 1],
    ['loses its bootstrap', { bootstrap: 'process.exit(4)' }, /the bootstrap exited with code 4/],
    ['loses its provider', { provider: 'process.exit(0)' }, /the provider exited with code 0/],
  ] as const) {
    test(`a querier that ${what} fails`, async () => {
      const { code, verdict, failure, stdout } = await runSuite(
        roles,
        timeout === undefined ? {} : { timeout },
      );
      assert.deepEqual([code, verdict], [1, 'fail']);
      assert.match(failure ?? '', message);
      assert.match(stdout, /^FAILED {2}x_x_x_x_x/);
    });
  }

  test('between peers a failure is shown and does not count', async () => {
    const { code, verdict } = await runSuite({ querier: '0' }, { ours: false });
    assert.deepEqual([code, verdict], [0, 'peer']);
  });

  test('a listed failure does not count; a listed pass does', async () => {
    const failed = await runSuite({ querier: '0' }, { known: LISTED });
    assert.deepEqual([failed.code, failed.verdict], [0, 'known']);
    const passed = await runSuite({ querier: PASS }, { known: LISTED });
    assert.deepEqual([passed.code, passed.verdict], [1, 'unexpected-pass']);
    const known = `${LISTED}    intermittent: true\n`;
    const sometimes = await runSuite({ querier: PASS }, { known });
    assert.deepEqual([sometimes.code, sometimes.verdict], [0, 'pass']);
    const sometimesNot = await runSuite({ querier: '0' }, { known });
    assert.deepEqual([sometimesNot.code, sometimesNot.verdict], [0, 'known']);
  });
});
