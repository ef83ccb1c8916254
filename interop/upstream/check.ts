/**
 * `make upstream-check`: runs our container as the upstream harnesses would, through the compose
 * files they generate, in a real Docker engine: against itself, and against containers of other
 * implementations, both ways; then, where checkouts of the harnesses are given, through their own
 * scripts.
 *
 *   node interop/upstream/check.ts [--image libp2p-lean] [--with js-v3.x,go-v0.51] [--all] [--perf]
 *   UNIFIED_TESTING=<checkout> TEST_PLANS=<checkout> node interop/upstream/check.ts --scripts-only
 *     [--others 'rust-v0.56|js-v3.x']   upstream's ids, whose images the scripts build or find
 *
 * Exit codes: 0 all passed; 1 a test failed; 2 something that is needed is missing.
 */

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { printable } from '../../src/printable.ts';
import { createProgram, exitsWith, print, runProgram } from '../command-line.ts';
import { allCells, type Cell } from '../runner/cells.ts';
import { type CommandResult, run } from '../runner/command.ts';
import { MatrixError } from '../runner/error.ts';
import { dockerMissing } from '../runner/executors.ts';
import { readImages } from '../runner/images.ts';
import { ROOT, resolveParticipants } from '../runner/participants.ts';
import {
  expectedTests,
  IMAGES,
  makeArchive,
  OURS,
  type RunOptions,
  runTestPlans,
  runUnifiedTesting,
  type Verdict,
} from './checkouts.ts';
import {
  type Compose,
  type Reading,
  readPerf,
  readTestPlans,
  readTransport,
  redisName,
  testPlansCompose,
  unifiedCompose,
} from './compose.ts';

/** The time limit that the unified harness gives a test. */
const TEST_TIMEOUT_MS = 180_000;

/** Compose version 2, or the older program, which has no `name` in its files. */
interface ComposeProgram {
  readonly command: readonly string[];
  readonly named: boolean;
}

const findCompose = async (): Promise<ComposeProgram> => {
  if ((await run(['docker', 'compose', 'version'], 20_000)).code === 0) {
    return { command: ['docker', 'compose', '--ansi', 'never'], named: true };
  }
  if ((await run(['docker-compose', 'version'], 20_000)).code === 0) {
    return { command: ['docker-compose', '--ansi', 'never'], named: false };
  }
  throw new MatrixError('neither "docker compose" nor docker-compose is here');
};

/** How each harness starts a test, where it looks for the result, and how it reads it. */
const UNIFIED = { flags: ['--exit-code-from', 'dialer', '--abort-on-container-exit'], logs: true };
const HARNESSES = {
  'unified transport': { ...UNIFIED, read: readTransport },
  'unified perf': { ...UNIFIED, read: readPerf },
  'test-plans': {
    flags: ['--exit-code-from=dialer', '--renew-anon-volumes'],
    logs: false,
    read: readTestPlans,
  },
};

interface Outcome {
  readonly reading: Reading;
  readonly problem: string | undefined;
  readonly output: string;
}

interface Flags {
  readonly image: string;
  readonly with: string;
  readonly all: boolean;
  readonly perf: boolean;
  readonly scriptsOnly: boolean;
  readonly others: string;
}

const main = async (flags: Flags): Promise<number> => {
  const missing = await dockerMissing();
  if (missing !== undefined) throw new MatrixError(missing);
  const compose = await findCompose();
  const { UNIFIED_TESTING = '', TEST_PLANS = '' } = process.env;
  if (flags.scriptsOnly && `${UNIFIED_TESTING}${TEST_PLANS}` === '') {
    throw new MatrixError('--scripts-only: neither UNIFIED_TESTING nor TEST_PLANS is set');
  }
  if (!flags.scriptsOnly) {
    const code = await checkComposeFiles(compose, flags);
    if (code !== 0) return code;
  }
  return checkScripts(compose, { UNIFIED_TESTING, TEST_PLANS }, flags.others);
};

/** The harnesses' compose files, as this checkout generates them. @returns an exit code. */
const checkComposeFiles = async (compose: ComposeProgram, flags: Flags): Promise<number> => {
  if ((await run(['docker', 'image', 'inspect', flags.image], 20_000)).code !== 0) {
    throw new MatrixError(`there is no image ${flags.image}; make docker builds it`);
  }

  const images = await readImages(join(ROOT, 'interop', 'images.yaml'));
  const others = flags.with.split(',').filter((id) => id !== '');
  const unknown = others.find((id) => !images.implementations.some((one) => one.id === id));
  if (unknown !== undefined)
    throw new MatrixError(`--with: there is no implementation "${unknown}"`);
  const wanted = images.implementations.filter(({ id }) => id === OURS || others.includes(id));
  const { participants, skipped } = await resolveParticipants(
    wanted.filter(({ id }) => id !== OURS),
    'docker',
    'unified',
  );
  for (const [id, why] of skipped) print(`skipped ${id}: ${why}`);
  if (others.length > 0 && participants.size === 0) {
    throw new MatrixError('no other implementation has a container here');
  }
  const imageOf = (id: string): string =>
    id === OURS ? flags.image : (participants.get(id)?.image ?? '');
  const cells = chooseCells(
    allCells(wanted).filter(
      (cell) => cell.ours && imageOf(cell.dialer) !== '' && imageOf(cell.listener) !== '',
    ),
    flags.all,
  );

  const folder = await mkdtemp(join(tmpdir(), 'libp2p-lean-upstream-'));
  const tag = randomBytes(3).toString('hex');
  const network = `libp2p-lean-upstream-${tag}`;
  const redis = `${network}-redis`;
  const docker = async (...args: string[]): Promise<CommandResult> => {
    const result = await run(['docker', ...args], 60_000);
    if (result.code !== 0) throw new MatrixError(`docker ${args[0]}: ${result.stderr.trim()}`);
    return result;
  };

  /** Brings a test up as the harness does and reads its result as the harness does. */
  const up = async (
    file: Compose,
    how: (typeof HARNESSES)[keyof typeof HARNESSES],
  ): Promise<Outcome> => {
    const { name, ...rest } = file;
    const path = join(folder, `${name}.yaml`);
    await writeFile(path, stringify(compose.named ? file : rest));
    const project = [...compose.command, ...(compose.named ? [] : ['-p', name]), '-f', path];
    try {
      const result = await run([...project, 'up', ...how.flags], TEST_TIMEOUT_MS);
      const printed = how.logs
        ? (await run([...project, 'logs', 'dialer'], 30_000)).stdout
        : result.stdout;
      const reading = how.read(printed);
      const problem =
        result.code === null
          ? `timed out after ${TEST_TIMEOUT_MS / 1000} s`
          : result.code !== 0
            ? `compose up exited with code ${result.code}`
            : reading === undefined
              ? 'the harness would find no result in its output'
              : undefined;
      return { reading, problem, output: `${result.stdout}\n${result.stderr}` };
    } finally {
      await run([...project, 'down', '--volumes', '--remove-orphans'], 60_000);
    }
  };

  let done = 0;
  let failed = 0;
  const report = (harness: string, cell: Cell, { reading, problem, output }: Outcome): void => {
    done++;
    if (problem === undefined) {
      print(`ok    ${harness.padEnd(18)} ${cell.name}  ${reading}`);
      return;
    }
    failed++;
    print(`FAIL  ${harness.padEnd(18)} ${cell.name}: ${problem}`);
    for (const line of output.trim().split('\n').slice(-25)) print(`      ${printable(line)}`);
  };

  const tidy = async () => {
    await run(['docker', 'rm', '-f', redis], 60_000);
    await run(['docker', 'network', 'rm', network], 60_000);
    await rm(folder, { recursive: true, force: true });
  };
  let stopped: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopped = signal; // compose, in the same group or not, ends with its test; then we tidy up
    });
  }
  try {
    await docker('network', 'create', network);
    await docker(
      ...['run', '-d', '--rm', '--name', redis, '--network', network],
      ...['--network-alias', redisName('transport'), '--network-alias', redisName('perf')],
      ...['redis:7-alpine', 'redis-server', '--bind', '0.0.0.0', '--protected-mode', 'no'],
      ...['--save', '', '--appendonly', 'no'],
    );
    for (const cell of cells) {
      const pair = { dialer: imageOf(cell.dialer), listener: imageOf(cell.listener) };
      const tests: Array<[keyof typeof HARNESSES, Compose]> = [
        ['unified transport', unifiedCompose('transport', cell, pair, network, tag)],
        ['test-plans', testPlansCompose(cell, pair, tag)],
      ];
      // Our peers implement the transport contract only.
      if (flags.perf && cell.dialer === OURS && cell.listener === OURS) {
        tests.push(['unified perf', unifiedCompose('perf', cell, pair, network, tag)]);
      }
      for (const [harness, file] of tests) {
        if (stopped === undefined) report(harness, cell, await up(file, HARNESSES[harness]));
      }
    }
  } finally {
    await tidy();
  }
  if (stopped !== undefined) {
    print(`stopped by ${stopped}`);
    return 1;
  }
  print(`${done - failed} of ${done} passed`);
  return failed === 0 ? 0 : 1;
};

/** The harnesses' own scripts, where there are checkouts. @returns an exit code. */
const checkScripts = async (
  compose: ComposeProgram,
  checkouts: { readonly UNIFIED_TESTING: string; readonly TEST_PLANS: string },
  others: string,
): Promise<number> => {
  const { UNIFIED_TESTING: unified, TEST_PLANS: testPlans } = checkouts;
  for (const [name, path] of Object.entries(checkouts)) {
    if (path === '') print(`skipped: the harness's own scripts (${name} names no checkout)`);
    else if (!existsSync(path)) throw new MatrixError(`${name} is ${path}, which does not exist`);
  }
  if (unified === '' && testPlans === '') return 0;
  if (!compose.named) throw new MatrixError('the scripts need docker compose, version 2');

  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => stop.abort(new MatrixError(`stopped by ${name}`)));
  }
  const folder = await mkdtemp(join(tmpdir(), 'libp2p-lean-upstream-'));
  const verdicts: [harness: string, Verdict][] = [];
  try {
    const archive = await makeArchive(folder);
    const expected = await expectedTests();
    const check = async (
      harness: string,
      start: (options: RunOptions) => Promise<Verdict[]>,
    ): Promise<void> => {
      // An existing image may be of another commit.
      await run(['docker', 'image', 'rm', ...IMAGES], 60_000);
      const scratch = join(folder, harness.replaceAll(' ', '-'));
      await mkdir(scratch);
      const found = await start({ folder: scratch, archive, others, signal: stop.signal });
      const names = new Set(found.map(({ name }) => name));
      for (const name of expected) {
        if (!names.has(name))
          verdicts.push([harness, { name: `${name} (not run)`, passed: false }]);
      }
      for (const verdict of found) verdicts.push([harness, verdict]);
    };
    if (unified !== '') {
      const checkout = resolve(unified);
      await check('unified transport', (it) => runUnifiedTesting('transport', checkout, it));
      await check('unified perf', (it) => runUnifiedTesting('perf', checkout, it));
    }
    if (testPlans !== '') {
      const checkout = resolve(testPlans);
      await check('test-plans', (it) => runTestPlans(checkout, it));
    }
  } finally {
    await run(['docker', 'image', 'rm', ...IMAGES], 60_000);
    // Stages of ours that the builder before BuildKit leaves behind.
    await run(['docker', 'image', 'prune', '-f', '--filter', 'label=libp2p-lean.stage'], 60_000);
    await rm(folder, { recursive: true, force: true });
  }
  for (const [harness, { name, passed }] of verdicts) {
    print(`${passed ? 'ok    ' : 'FAIL  '}${harness.padEnd(18)} ${name}`);
  }
  const passed = verdicts.filter(([, verdict]) => verdict.passed).length;
  print(`the harnesses' own scripts: ${passed} of ${verdicts.length} passed`);
  return passed === verdicts.length ? 0 : 1;
};

/** One combination of secure channel and muxer for each pair and transport, or all of them. */
const chooseCells = (cells: readonly Cell[], all: boolean): readonly Cell[] => {
  if (all) return cells;
  const seen = new Set<string>();
  return cells.filter((cell) => {
    const key = `${cell.dialer} ${cell.listener} ${cell.transport}`;
    return seen.has(key) ? false : seen.add(key);
  });
};

const program = createProgram(
  'upstream-check',
  'Our container as the upstream harnesses run it, in a real Docker engine.',
)
  .option('--image <name>', 'the image under test', 'libp2p-lean')
  .option('--with <ids>', 'other implementations, with commas in between', 'js-v3.x,go-v0.51')
  .option('--all', 'every secure channel and muxer, not one of each', false)
  .option('--perf', 'the perf suite, too', false)
  .option('--scripts-only', "only the harnesses' own scripts (UNIFIED_TESTING, TEST_PLANS)", false)
  .option('--others <filter>', "with the scripts: upstream's ids of other images", '')
  .action(exitsWith(main));

await runProgram(program);
