/** The runner as people start it: a process, with participants that keep the contract or break it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { noTcpPath } from '../../interop/network/tcp-path.ts';
import { noRedis } from '../../interop/redis-server.ts';
import { seedOf } from '../../interop/runner/network-path.ts';
import type { CellResult, Results } from '../../interop/runner/results.ts';
import { longEnough } from '../support/long-enough.ts';

const MATRIX = fileURLToPath(new URL('../../interop/matrix.ts', import.meta.url));
const PARTICIPANT = fileURLToPath(new URL('./peers/participant.ts', import.meta.url));
const skip = noRedis;
/** Between two looks at the processes, milliseconds; and how many looks a busy machine gets. */
const LOOK = 50;
const PATIENCE = 1_200;

const folder = mkdtempSync(join(tmpdir(), 'libp2p-lean-matrix-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Entry {
  readonly mode: string;
  readonly ours?: boolean;
  readonly command?: readonly string[];
  readonly extra?: string;
}

/** A capability file with one implementation for each entry. */
const imagesFile = (entries: Readonly<Record<string, Entry>>): string => {
  const path = join(folder, `${randomUUID()}.yaml`);
  const lines = Object.entries(entries).map(([id, { mode, ours, command, extra }]) =>
    [
      `  - id: ${id}`,
      `    ours: ${ours ?? false}`,
      `    command: ${JSON.stringify(command ?? [process.execPath, PARTICIPANT, mode])}`,
      '    transports: [tcp]',
      '    secureChannels: [noise]',
      '    muxers: [yamux]',
      ...(extra === undefined ? [] : [`    ${extra}`]),
    ].join('\n'),
  );
  writeFileSync(path, `implementations:\n${lines.join('\n')}\n`);
  return path;
};

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly out: string;
  readonly results: Results | undefined;
  /** Processes of the run that are still there. */
  readonly left: string[];
}

/**
 * Processes whose environment holds `mark`; only Linux tells. Not redis-server, which writes its
 * title over its environment: that is found as a child, and at the end by its port.
 */
const marked = (mark: string): string[] => {
  if (!existsSync('/proc/self/environ')) return [];
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark);
    } catch {
      return false;
    }
  });
};

/** Waits, as a killed process takes a moment to vanish. */
const leftOf = async (mark: string): Promise<string[]> => {
  for (let round = 0; round < PATIENCE && marked(mark).length > 0; round++) await sleep(LOOK);
  return marked(mark);
};

/** Resolves when a run has so many processes, or never will. */
const untilMarked = async (mark: string, processes: number): Promise<void> => {
  for (let round = 0; round < PATIENCE && marked(mark).length < processes; round++) {
    await sleep(LOOK);
  }
};

const answers = (address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });

const begin = (args: readonly string[], env: NodeJS.ProcessEnv = {}) => {
  const mark = `MATRIX_TEST=${randomUUID()}`;
  const [name = '', value = ''] = mark.split('=');
  const out = join(folder, randomUUID());
  const child = spawn(process.execPath, [MATRIX, ...args, '--out', out], {
    env: { ...process.env, CI: '1', ...env, [name]: value },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const finished = once(child, 'close').then(async ([code]): Promise<Finished> => {
    const file = join(out, 'results.json');
    const results = existsSync(file)
      ? (JSON.parse(readFileSync(file, 'utf8')) as Results)
      : undefined;
    const left = await leftOf(mark);
    for (const cell of results?.cells ?? []) {
      const address = cell.attempts[0]?.dialer.env.REDIS_ADDR;
      if (address !== undefined && (await answers(address))) left.push(`Redis at ${address}`);
    }
    return { code: code as number | null, stdout, stderr, out, results, left };
  });
  return { child, finished, mark, stderr: () => stderr };
};

const matrix = (args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Finished> =>
  begin(args, env).finished;

const cellOf = (run: Finished, name: string): CellResult => {
  const cell = run.results?.cells.find((one) => one.name === `${name} (tcp, noise, yamux)`);
  assert.ok(cell, `${name} was run; stderr: ${run.stderr}`);
  return cell;
};

const messageOf = (cell: CellResult): string => cell.attempts[0]?.failure?.message ?? '';

test('participants that keep the contract: green, with figures, logs and three files', {
  skip,
}, async () => {
  const images = imagesFile({
    lean: { mode: 'well-behaved', ours: true },
    peer: { mode: 'well-behaved' },
  });
  const run = await matrix(['--images', images, '--no-known'], {
    IS_DIALER: 'garbage',
    TRANSPORT: 'no',
  });
  assert.equal(run.code, 0, run.stderr);
  assert.equal(run.results?.summary.passed, 4);
  assert.match(run.stdout, /^4 of 4 cells passed, 0 failed in /m);
  assert.match(run.stderr, /^\[4\/4\] ✓ /m);
  const [attempt] = cellOf(run, 'lean x peer').attempts;
  assert.equal(attempt?.handshakePlusOneRttMs, 5.25);
  assert.equal(attempt?.pingRttMs, 0.5);
  assert.match(attempt?.multiaddr ?? '', /^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3KooWTest$/);
  assert.ok((attempt?.listenerReadyMs ?? 0) > 0);
  const log = readFileSync(join(run.out, attempt?.listener.log ?? ''), 'utf8');
  assert.match(log, /^# IS_DIALER=false$/m);
  assert.match(log, /^ +\d+\.\d{3} err {2}listening on \d+$/m);
  const markdown = readFileSync(join(run.out, 'results.md'), 'utf8');
  assert.match(markdown, /^### tcp \+ noise \+ yamux$/m);
  assert.match(markdown, /^\| Dialer \\ Listener \| lean \| peer \|$/m);
  assert.match(markdown, /^\| \*\*peer\*\* \| ✅ \| ✅ \|$/m);
  assert.deepEqual(run.left, []);
});

test('under conditions: every cell under each, as often as it takes; a table of successes', {
  skip: skip || noTcpPath(),
}, async () => {
  const images = imagesFile({
    lean: { mode: 'well-behaved', ours: true },
    peer: { mode: 'well-behaved' },
  });
  const run = await matrix([
    ...['--images', images, '--no-known', '--conditions', 'clean,multiconnect,rebind-port'],
    ...['--pairs', 'same', '--test-ignore', 'peer x peer', '--repeat', '1', '--seed', '8'],
  ]);
  assert.equal(run.code, 0, run.stderr);
  // rebind-port is for QUIC.
  assert.deepEqual(run.results?.cells.map(({ name }) => name).sort(), [
    'lean x lean (tcp, noise, yamux) under clean',
    'lean x lean (tcp, noise, yamux) under multiconnect',
  ]);
  const [clean, many] = run.results?.cells ?? [];
  const [one] = many?.attempts ?? [];
  assert.equal(one?.network?.seed, seedOf(8, 'multiconnect', 1));
  assert.notEqual(seedOf(8, 'multiconnect', 1), seedOf(8, 'multiconnect', 2));
  assert.match(one?.dialer.env.TEST_KEY ?? '', /^[0-9a-f]{8}d5$/);
  // A connection is three packets at least.
  assert.ok((one?.network?.packets?.[0] ?? 0) > 5 * 3);
  assert.equal(clean?.attempts[0]?.network?.lost?.[0], 0);
  assert.ok((one?.network?.lost?.[0] ?? 0) + (one?.network?.lost?.[1] ?? 0) > 0);
  const markdown = readFileSync(join(run.out, 'results.md'), 'utf8');
  assert.match(markdown, /^\| \*\*lean\*\* \| 1\/1, 5 \| 1\/1, 5 \|$/m);
  assert.deepEqual(run.left, []);
});

test('conditions that are none, or cannot be had: one line', { skip }, async () => {
  const images = imagesFile({ lean: { mode: 'well-behaved', ours: true } });
  for (const [flags, line] of [
    [['--conditions', 'clean,fog'], /there is no "fog"; it may be all, or of clean, longrtt/],
    [['--conditions', 'all', '--dialect', 'legacy'], /--dialect unified only/],
  ] as const) {
    const run = await matrix(['--images', images, '--no-known', ...flags]);
    assert.equal(run.code, 2);
    assert.match(run.stderr, line);
  }
});

test('the legacy dialect: lower-case variables, a Redis of its own for every cell, JSON', {
  skip,
}, async () => {
  const images = imagesFile({
    a: { mode: 'well-behaved', ours: true },
    b: { mode: 'well-behaved' },
  });
  const run = await matrix([
    '--images',
    images,
    '--no-known',
    '--dialect',
    'legacy',
    '--workers',
    '2',
  ]);
  assert.equal(run.code, 0, run.stderr);
  const [attempt] = cellOf(run, 'a x b').attempts;
  assert.deepEqual(Object.keys(attempt?.dialer.env ?? {}), [
    'is_dialer',
    'transport',
    'security',
    'muxer',
    'ip',
    'redis_addr',
    'test_timeout_seconds',
  ]);
  const redises = run.results?.cells.map((cell) => cell.attempts[0]?.dialer.env.redis_addr);
  assert.equal(new Set(redises).size, 4);
  assert.deepEqual(run.left, []);
});

test('participants that break it: one clear line each, the run goes on, nothing is left', {
  skip,
}, async () => {
  const images = imagesFile({
    ours: { mode: 'well-behaved', ours: true },
    dies: { mode: 'dies' },
    late: { mode: 'dies-late' },
    garbage: { mode: 'garbage' },
    silent: { mode: 'silent' },
    spews: { mode: 'spews' },
    missing: { mode: '', command: ['/nonexistent/peer'] },
  });
  const tests = ['dies', 'late', 'garbage', 'silent', 'spews', 'missing'].flatMap((id) => [
    `ours x ${id} `,
    `${id} x ours `,
  ]);
  const run = await matrix([
    ...['--images', images, '--no-known', '--no-retry', '--timeout', '60', '--workers', '4'],
    ...['--test-select', `${tests.join('|')}|ours x ours`],
  ]);
  assert.equal(run.code, 1, run.stderr);
  assert.equal(run.results?.cells.length, 13);
  const expected: Array<[name: string, kind: string | undefined, message: RegExp]> = [
    ['ours x ours', undefined, /^$/],
    [
      'ours x dies',
      'listener-exit',
      /^the listener exited with code 3 before the dialer was done$/,
    ],
    ['dies x ours', 'dialer-exit', /^the dialer exited with code 3; the listener /],
    ['late x ours', undefined, /^$/],
    [
      'garbage x ours',
      'output',
      /line 1 of its stdout does not belong to a result: "Hello from <b>libp2p<\/b>!"$/,
    ],
    ['ours x garbage', undefined, /^$/],
    ['silent x ours', 'output', /^the dialer exited with code 0, but its stdout is empty$/],
    ['spews x ours', undefined, /^$/],
    ['missing x ours', 'start', /^the dialer could not be started: \/nonexistent\/peer ENOENT$/],
    [
      'ours x missing',
      'start',
      /^the listener could not be started: .* before the dialer was done$/,
    ],
  ];
  for (const [name, kind, message] of expected) {
    const cell = cellOf(run, name);
    assert.equal(cell.attempts[0]?.failure?.kind, kind, `${name}: ${messageOf(cell)}`);
    assert.match(messageOf(cell), message, name);
  }
  assert.deepEqual(cellOf(run, 'ours x dies').attempts[0]?.listener.errorLines, [
    'Error: cannot bind: address in use',
  ]);
  // A peer that spews cannot fill the disk.
  const spewed = readFileSync(
    join(run.out, cellOf(run, 'spews x ours').attempts[0]?.dialer.log ?? ''),
    'utf8',
  );
  assert.ok(spewed.length < 5 * 1024 * 1024);
  assert.match(spewed, /^\.\.\. the rest is cut$/m);
  // What a peer printed is text in the page, not markup.
  const page = readFileSync(join(run.out, 'results.html'), 'utf8');
  assert.ok(!page.includes('<b>libp2p</b>'));
  assert.deepEqual(run.left, []);
});

test('participants that hang: the time limit says how far they came', { skip }, async () => {
  const images = imagesFile({
    ours: { mode: 'well-behaved', ours: true },
    hangs: { mode: 'hangs' },
  });
  // Seconds, for machines that are ever busier: the listener that keeps the contract has to come up in them.
  await longEnough([2, 10, 30], async (limit) => {
    const run = await matrix([
      ...['--images', images, '--no-known', '--no-retry', '--timeout', `${limit}`],
      ...['--workers', '2', '--test-select', 'ours x hangs|hangs x ours'],
    ]);
    assert.equal(run.code, 1, run.stderr);
    for (const [name, how] of [
      ['ours x hangs', 'never published its address$'],
      ['hangs x ours', 'published /ip4/127\\.0\\.0\\.1/tcp/\\d+'],
    ] as const) {
      const cell = cellOf(run, name);
      assert.equal(cell.attempts[0]?.failure?.kind, 'timeout', messageOf(cell));
      const message = new RegExp(`^timed out after ${limit} s: the listener ${how}`);
      assert.match(messageOf(cell), message);
    }
    assert.deepEqual(run.left, []);
  });
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} ends the run: results so far are written, nothing is left`, {
    skip,
  }, async () => {
    const images = imagesFile({ a: { mode: 'hangs', ours: true }, b: { mode: 'well-behaved' } });
    const args = ['--images', images, '--no-known', '--workers', '2', '--timeout', '60'];
    const { child, finished, mark } = begin(args);
    // Both hanging cells have started their participants, and these their children.
    await untilMarked(mark, 6);
    assert.ok(marked(mark).length >= 6 || !existsSync('/proc/self/environ'));
    child.kill(signal);
    const run = await finished;
    assert.equal(run.code, signal === 'SIGINT' ? 130 : 143, run.stderr);
    assert.match(
      run.results?.interrupted ?? '',
      new RegExp(`^stopped by ${signal}; \\d of 4 cells`),
    );
    assert.deepEqual(run.left, []);
  });
}

const linux = existsSync('/proc/self/environ') ? skip : 'needs /proc';
test('Redis dying under the run stops it with a line', { skip: linux }, async () => {
  const images = imagesFile({ a: { mode: 'hangs', ours: true } });
  const { child, finished, mark } = begin(['--images', images, '--no-known', '--timeout', '60']);
  const servers = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        const [, name, , parent] =
          /^\d+ \((.*)\) (\S) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
        return name === 'redis-server' && parent === String(child.pid);
      } catch {
        return false;
      }
    });
  await untilMarked(mark, 5);
  const [pid] = servers();
  assert.ok(pid, 'redis-server runs');
  process.kill(Number(pid), 'SIGKILL');
  const run = await finished;
  assert.equal(run.code, 1);
  assert.match(
    run.stdout,
    /^not complete: redis-server ended during the run \(SIGKILL\); 0 of 1 cells were run$/m,
  );
  assert.deepEqual(run.left, []);
});

const knownFile = (text: string): string => {
  const path = join(folder, `${randomUUID()}-known.yaml`);
  writeFileSync(path, text);
  return path;
};
const listed = (...names: string[]) =>
  knownFile(
    `known-failures:\n  - tests:\n${names.map((name) => `      - "${name} (tcp, noise, yamux)"\n`).join('')}    reason: it does\n    evidence: https://example.org/1\n`,
  );

test('known failures: a listed failure is let pass, a listed pass is not; peers never fail the run', {
  skip,
}, async () => {
  const images = imagesFile({
    ours: { mode: 'well-behaved', ours: true },
    dies: { mode: 'dies' },
    fine: { mode: 'well-behaved' },
  });
  const args = ['--images', images, '--timeout', '60', '--test-select'];
  const strict = await matrix([...args, 'ours x |dies x dies', '--no-known']);
  assert.equal(strict.code, 1);
  assert.equal(cellOf(strict, 'ours x dies').verdict, 'fail');
  assert.equal(cellOf(strict, 'dies x dies').verdict, 'peer');

  const lenient = await matrix([...args, 'ours x |dies x dies', '--known', listed('ours x dies')]);
  assert.equal(lenient.code, 0, lenient.stdout);
  assert.deepEqual(cellOf(lenient, 'ours x dies').known, {
    reason: 'it does',
    evidence: 'https://example.org/1',
  });
  assert.match(
    lenient.stdout,
    /2 of 4 cells passed, 0 failed, 1 failed as listed, 1 failed between peers/,
  );

  const stale = await matrix([
    ...args,
    'ours x fine',
    '--known',
    listed('ours x fine', 'ours x dies'),
  ]);
  assert.equal(stale.code, 1);
  assert.equal(cellOf(stale, 'ours x fine').verdict, 'unexpected-pass');
  assert.match(stale.stdout, /^PASSED {2}ours x fine \(tcp, noise, yamux\): it is listed/m);
});

test('known failures: mistakes in the list are one line with their place', async () => {
  const images = imagesFile({ a: { mode: 'well-behaved', ours: true } });
  const cases: Array<[string, RegExp]> = [
    [
      listed('a x b'),
      /-known\.yaml:3:9: there is no cell "a x b \(tcp, noise, yamux\)" in the matrix$/,
    ],
    [listed('a x a', 'a x a'), /-known\.yaml:4:9: "a x a \(tcp, noise, yamux\)" is listed twice$/],
    [
      knownFile('known-failures:\n  - tests: ["x"]\n    reason: y\n'),
      /:2:5: evidence of a known failure must be a text$/,
    ],
    [
      knownFile('known-failures:\n  - reason: y\n    evidence: z\n'),
      /:2:5: a known failure must name its tests$/,
    ],
    [knownFile('known:\n'), /:1:1: the list: unknown key "known"/],
    [join(folder, 'absent.yaml'), /absent\.yaml: ENOENT/],
  ];
  for (const [path, message] of cases) {
    const run = await matrix(['--images', images, '--known', path]);
    assert.equal(run.code, 2);
    assert.match(run.stderr.trimEnd(), message);
    assert.equal(run.stderr.trimEnd().split('\n').length, 1, run.stderr);
  }
});

test('bad input: exit code 2 and one line', async () => {
  const images = imagesFile({ a: { mode: 'well-behaved', ours: true } });
  const cases: Array<[string[], RegExp]> = [
    [
      ['--impl-select', 'zig'],
      /--impl-select: "zig" matches none of the implementations; there are a$/m,
    ],
    [['--impl-select', '~zig'], /unknown alias ~zig; there are none$/m],
    [['--impl-ignore', 'a'], /the selection leaves no test to run/],
    [['--shard', '5/4'], /--shard: "5\/4" is not i\/n/],
    [['--workers', 'many'], /--workers.*whole number from 1 to 64/],
    [['--exec', 'podman'], /--exec.*process, docker/],
    [['--images', join(folder, 'nowhere.yaml')], /nowhere\.yaml: ENOENT/],
    [['--frobnicate'], /unknown option '--frobnicate'/],
  ];
  for (const [args, message] of cases) {
    const run = await matrix(['--images', images, '--no-known', ...args]);
    assert.equal(run.code, 2, args.join(' '));
    assert.match(run.stderr, message);
    assert.equal(run.stdout, '');
    assert.doesNotMatch(run.stderr, /\n {4}at /);
  }
});

test('without redis-server the run says what to install', async () => {
  const images = imagesFile({ a: { mode: 'well-behaved', ours: true } });
  const run = await matrix(['--images', images, '--no-known'], { PATH: '/nonexistent' });
  assert.equal(run.code, 2);
  assert.match(
    run.stderr,
    /redis-server is not on PATH; install it \(Debian: apt-get install redis-server/,
  );
});

test('what cannot run here is skipped with a line, and --require-all makes that a failure', {
  skip,
}, async () => {
  const images = imagesFile({
    a: { mode: 'well-behaved', ours: true },
    b: { mode: 'well-behaved', extra: 'requiresEnv: [SOME_VARIABLE_THAT_IS_NOT_SET]' },
    c: { mode: 'well-behaved', extra: 'legacy: true' },
  });
  const run = await matrix(['--images', images, '--no-known']);
  assert.equal(run.code, 0, run.stderr);
  assert.match(run.stderr, /^skipped b: SOME_VARIABLE_THAT_IS_NOT_SET is not set$/m);
  assert.match(run.stderr, /^skipped c: it speaks the legacy dialect only/m);
  assert.equal(run.results?.cells.length, 1);
  assert.match(readFileSync(join(run.out, 'results.md'), 'utf8'), /^- b: SOME_VARIABLE/m);
  const strict = await matrix(['--images', images, '--no-known', '--require-all']);
  assert.equal(strict.code, 1);
  const none = await matrix(['--images', images, '--no-known', '--impl-select', 'b']);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /nothing was run/);
});

test('shards and merge: the whole matrix again, with its logs; a missing shard fails', {
  skip,
}, async () => {
  const images = imagesFile({ a: { mode: 'well-behaved', ours: true }, b: { mode: 'dies' } });
  const args = ['--images', images, '--timeout', '60'];
  const known = listed('a x b', 'b x a');
  const runs = await Promise.all(
    ['1/2', '2/2'].map((shard) => matrix([...args, '--known', known, '--shard', shard])),
  );
  assert.deepEqual(
    runs.map((run) => [run.code, run.results?.cells.length]),
    [
      [0, 2],
      [0, 2],
    ],
  );
  const files = runs.map((run) => join(run.out, 'results.json'));
  const merged = await matrix(['merge', ...files, '--images', images, '--known', known]);
  assert.equal(merged.code, 0, merged.stderr);
  assert.equal(merged.results?.cells.length, 4);
  assert.equal(merged.results?.interrupted, null);
  for (const cell of merged.results?.cells ?? []) {
    for (const attempt of cell.attempts) {
      assert.ok(existsSync(join(merged.out, attempt.dialer.log)), attempt.dialer.log);
    }
  }
  const partial = await matrix(['merge', files[1] ?? '', '--images', images, '--known', known]);
  assert.equal(partial.code, 1);
  assert.match(partial.stdout, /^not complete: shard 1\/2 is missing$/m);
  // Runs of the same cells add up: three in a row is a merge of three.
  const twice = await matrix(['merge', ...files, ...files, '--images', images, '--known', known]);
  assert.equal(twice.results?.cells[0]?.attempts.length, 2);
  const nonsense = join(folder, 'nonsense.json');
  writeFileSync(nonsense, '{"schema": 99}');
  const refused = await matrix(['merge', nonsense, '--images', images, '--no-known']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /nonsense\.json: not a results\.json of schema 1/);
});

test('--repeat: every run has its own key and log, and one failure fails the cell', {
  skip,
}, async () => {
  const images = imagesFile({ a: { mode: 'well-behaved', ours: true } });
  const run = await matrix(['--images', images, '--no-known', '--repeat', '3']);
  assert.equal(run.code, 0, run.stderr);
  const { attempts } = cellOf(run, 'a x a');
  assert.equal(new Set(attempts.map((attempt) => attempt.testKey)).size, 3);
  assert.equal(new Set(attempts.map((attempt) => attempt.dialer.log)).size, 3);
});

test('real cells: our package and js-libp2p over QUIC, both ways', { skip }, async () => {
  const run = await matrix([
    '--impl-select',
    'libp2p-lean-v0.1|js-v3.x',
    '--impl-ignore',
    'js-v3.x-lean',
    '--transport-select',
    'quic-v1',
  ]);
  assert.equal(run.code, 0, run.stderr + run.stdout);
  const js = run.results?.implementations.find(({ id }) => id === 'js-v3.x');
  const names = run.results?.cells.map(({ name, status }) => `${name} ${status}`);
  if (js?.skipped) {
    // No registry to build it from: then that is said, and our own cell is run all the same.
    assert.match(run.stderr, /^skipped js-v3\.x: /m);
    assert.deepEqual(names, ['libp2p-lean-v0.1 x libp2p-lean-v0.1 (quic-v1) pass']);
    return;
  }
  assert.deepEqual(names, [
    'libp2p-lean-v0.1 x libp2p-lean-v0.1 (quic-v1) pass',
    'libp2p-lean-v0.1 x js-v3.x (quic-v1) pass',
    'js-v3.x x libp2p-lean-v0.1 (quic-v1) pass',
    'js-v3.x x js-v3.x (quic-v1) pass',
  ]);
  for (const { attempts } of run.results?.cells ?? []) {
    assert.match(
      attempts[0]?.multiaddr ?? '',
      /^\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1\/p2p\/\w+$/,
    );
    assert.ok((attempts[0]?.handshakePlusOneRttMs ?? 0) > 0);
  }
  assert.deepEqual(run.left, []);
});
