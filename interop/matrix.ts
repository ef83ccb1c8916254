/**
 * `libp2p-lean-matrix`: runs the interop matrix, or merges the results of several runs.
 * docs/matrix.md is its manual.
 *
 * Exit codes: 0 every cell passed, or is accounted for; 1 a cell failed, a listed cell passed, or
 * the run is not complete; 2 a flag or a file is wrong; 130/143 stopped by Ctrl-C/SIGTERM.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { createProgram, exitsWith, print, runProgram, say, whole } from './command-line.ts';
import { CONDITIONS } from './network/conditions.ts';
import { noRedis } from './redis-server.ts';
import {
  allCells,
  type Cell,
  parseConditions,
  parseShard,
  type Selection,
  selectCells,
  shardOf,
  underConditions,
} from './runner/cells.ts';
import { MatrixError } from './runner/error.ts';
import { dockerMissing } from './runner/executors.ts';
import { type Implementation, readImages } from './runner/images.ts';
import { type KnownFailure, readKnownFailures } from './runner/known-failures.ts';
import { noPath } from './runner/network-path.ts';
import { ROOT, resolveParticipants } from './runner/participants.ts';
import { exitCodeOf } from './runner/processes.ts';
import { createReporter, duration } from './runner/progress.ts';
import {
  type ImplementationRecord,
  mergeResults,
  type Results,
  readResults,
  succeeded,
} from './runner/results.ts';
import { runMatrix } from './runner/run-matrix.ts';
import { stopOnSignals } from './runner/signals.ts';
import { gatherLogs, writeResults } from './runner/write-results.ts';

interface Flags extends Selection {
  readonly images: string;
  readonly known: string | false;
  readonly out: string;
  readonly exec: 'process' | 'docker';
  readonly dialect: 'unified' | 'legacy';
  readonly workers: number;
  readonly timeout: number;
  readonly repeat?: number;
  readonly conditions?: string;
  readonly pairs: 'all' | keyof typeof PAIRS;
  readonly seed: number;
  readonly listenerIp?: string;
  readonly shard?: string;
  readonly requireAll: boolean;
  readonly debug: boolean;
  readonly retry: boolean;
  readonly listTests: boolean;
  readonly listImages: boolean;
  readonly showIgnored: boolean;
  readonly checkDeps: boolean;
}

const PAIRS = {
  same: ({ dialer, listener }: Cell) => dialer === listener,
  ours: ({ ours }: Cell) => ours,
};

const DIMENSIONS = [
  ['impl', 'implementations'],
  ['transport', 'transports'],
  ['secure', 'secure channels'],
  ['muxer', 'muxers'],
  ['test', 'tests by their name'],
] as const;

const FILTER_FLAGS = DIMENSIONS.flatMap(([name]) => [`${name}Select`, `${name}Ignore`] as const);

const knownFailures = async (
  flags: Pick<Flags, 'known' | 'images'>,
): Promise<ReadonlyMap<string, KnownFailure>> => {
  if (flags.known === false) return new Map();
  const images = await readImages(flags.images);
  const cells = allCells(images.implementations);
  return readKnownFailures(flags.known, [...cells, ...underConditions(cells, CONDITIONS)]);
};

const recordOf = (
  { id, ours, transports, secureChannels, muxers, dialOnly }: Implementation,
  version: string | undefined,
  skipped: string | undefined,
): ImplementationRecord => ({
  id,
  ours,
  version: version ?? null,
  transports,
  secureChannels,
  muxers,
  dialOnly,
  skipped: skipped ?? null,
});

/** The run itself; returns the exit code. */
const run = async (flags: Flags): Promise<number> => {
  const images = await readImages(flags.images);
  if (flags.listImages) {
    for (const { id } of images.implementations) print(id);
    return 0;
  }
  if (flags.checkDeps) return await checkDeps(flags.exec);
  const known = await knownFailures(flags);
  const { selected, ignored } = selectCells(images, flags);
  const paired = flags.pairs === 'all' ? selected : selected.filter(PAIRS[flags.pairs]);
  const conditioned =
    flags.conditions === undefined
      ? paired
      : underConditions(paired, parseConditions(flags.conditions));
  const shard = flags.shard === undefined ? undefined : parseShard(flags.shard);
  const wanted = shard === undefined ? conditioned : shardOf(conditioned, shard);
  if (flags.listTests) {
    for (const cell of wanted) print(cell.name);
    if (flags.showIgnored) for (const cell of ignored) print(`(ignored) ${cell.name}`);
    say(`${wanted.length} selected, ${ignored.length} ignored`);
    return 0;
  }
  if (conditioned.length === 0)
    throw new MatrixError('the selection leaves no test to run; see --list-tests');

  if (flags.conditions !== undefined && (flags.exec !== 'process' || flags.dialect !== 'unified')) {
    throw new MatrixError('--conditions works with --exec process and --dialect unified only');
  }
  const lacking = await missingHere(flags.exec);
  if (lacking !== undefined) throw new MatrixError(lacking);
  const stop = stopOnSignals();
  const inPlay = new Set(wanted.flatMap((cell) => [cell.dialer, cell.listener]));
  const implementations = images.implementations.filter(({ id }) => inPlay.has(id));
  const { participants, versions, skipped } = await resolveParticipants(
    implementations,
    flags.exec,
    flags.dialect,
  );
  for (const [id, why] of skipped) say(`skipped ${id}: ${why}`);
  const there = wanted.filter(
    (cell) => participants.has(cell.dialer) && participants.has(cell.listener),
  );
  if (skipped.size > 0) say(`${wanted.length - there.length} cells fall away with what is skipped`);
  const cells = there.filter((cell) => noPath(cell) === false);
  const [pathless] = there.filter((cell) => noPath(cell) !== false);
  if (pathless !== undefined)
    say(`skipped ${there.length - cells.length} cells: ${noPath(pathless)}`);

  stop.begin();
  const out = resolve(flags.out);
  // The logs of an earlier run would be taken for this one's.
  await rm(join(out, 'logs'), { recursive: true, force: true });
  await mkdir(join(out, 'logs'), { recursive: true });
  const filters: Record<string, string> = {};
  for (const key of FILTER_FLAGS) {
    const value = flags[key];
    if (value)
      filters[`--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`] = value;
  }
  const results = await runMatrix({
    images,
    cells,
    known,
    participants,
    implementations: implementations.map((one) =>
      recordOf(one, versions.get(one.id), skipped.get(one.id)),
    ),
    out,
    exec: flags.exec,
    dialect: flags.dialect,
    workers: flags.workers,
    timeoutSecs: flags.timeout,
    repeat: flags.repeat ?? (flags.conditions === undefined ? 1 : 20),
    seed: flags.seed,
    // Processes stay on this machine; containers bind as in the upstream harnesses.
    listenerIp: flags.listenerIp ?? (flags.exec === 'docker' ? '0.0.0.0' : '127.0.0.1'),
    debug: flags.debug,
    retry: flags.retry,
    shard,
    filters,
    signal: stop.controller.signal,
    reporter: createReporter(process.stderr),
  });
  const code = await conclude(results, out);
  const stopped = stop.caught();
  if (stopped !== undefined) return exitCodeOf(stopped);
  if (wanted.length > 0 && cells.length === 0) {
    say('nothing was run: every selected implementation was skipped');
    return 1;
  }
  if (flags.requireAll && skipped.size > 0) {
    say(`--require-all: ${[...skipped.keys()].join(', ')} did not take part`);
    return 1;
  }
  return code;
};

const merge = async (
  files: readonly string[],
  flags: Pick<Flags, 'images' | 'known' | 'out'>,
): Promise<number> => {
  const known = await knownFailures(flags);
  const parts: Results[] = [];
  const out = resolve(flags.out);
  for (const file of files) parts.push(await readResults(file));
  const merged = mergeResults(await gatherLogs(files, parts, out), known);
  return await conclude(merged, out);
};

/** What the runner itself lacks here; what a peer lacks is reported when it is built. */
const missingHere = async (exec: 'process' | 'docker'): Promise<string | undefined> => {
  if (exec === 'docker') return await dockerMissing();
  return noRedis === false ? undefined : noRedis;
};

const checkDeps = async (exec: 'process' | 'docker'): Promise<number> => {
  const missing = await missingHere(exec);
  print(missing ?? 'everything the runner itself needs is here');
  return missing === undefined ? 0 : 2;
};

/** Writes the three files and prints a summary; resolves with the exit code. */
const conclude = async (results: Results, out: string): Promise<number> => {
  const files = await writeResults(results, out);
  const { summary } = results;
  for (const cell of results.cells) {
    if (cell.verdict === 'fail') print(`FAILED  ${cell.name}`);
    const timeline = cell.verdict === 'fail' ? cell.retry?.trace?.timeline : undefined;
    if (timeline !== undefined) print(`        its retry: ${join(out, timeline)}`);
    if (cell.verdict === 'unexpected-pass') {
      print(`PASSED  ${cell.name}: it is listed in known-failures.yaml; take it off the list`);
    }
  }
  const notes = [
    ...(summary.known > 0 ? [`${summary.known} failed as listed`] : []),
    ...(summary.peer > 0 ? [`${summary.peer} failed between peers`] : []),
    ...(summary.unexpectedPasses > 0
      ? [`${summary.unexpectedPasses} passed but listed as failing`]
      : []),
  ];
  const mine = summary.failed - summary.known - summary.peer;
  print(
    `${summary.passed} of ${summary.total} cells passed, ${mine} failed${notes.map((note) => `, ${note}`).join('')} in ${duration(Date.parse(results.completedAt) - Date.parse(results.startedAt))}`,
  );
  if (results.interrupted !== null) print(`not complete: ${results.interrupted}`);
  print(files.join('\n'));
  return succeeded(results) ? 0 : 1;
};

const INTEROP = join(ROOT, 'interop');
const LISTED = join(INTEROP, 'known-failures.yaml');

const program = createProgram(
  'libp2p-lean-matrix',
  'Runs the libp2p interop matrix on this machine: every dialer with every listener.',
).enablePositionalOptions();

const common = (command: Command): Command =>
  command
    .option('--images <file>', 'the capability file', join(INTEROP, 'images.yaml'))
    .option('--known <file>', 'the list of known failures', existsSync(LISTED) ? LISTED : false)
    .option('--no-known', 'use no list of known failures')
    .option(
      '--out <folder>',
      'where results.json, results.md, results.html and logs go',
      join(ROOT, 'results'),
    );

const main = common(program);
main.optionsGroup('Selection:');
for (const [name, what] of DIMENSIONS) {
  for (const verb of ['select', 'ignore'] as const) {
    const option = new Option(`--${name}-${verb} <filter>`, `${verb} ${what}`).env(
      `${name}_${verb}`.toUpperCase(),
    );
    main.addOption(option);
  }
}
main.optionsGroup('How cells run:');
main
  .addOption(new Option('--image-select <filter>', 'the same as --impl-select').hideHelp())
  .addOption(new Option('--image-ignore <filter>', 'the same as --impl-ignore').hideHelp())
  .addOption(
    new Option('--exec <how>', 'run participants as')
      .choices(['process', 'docker'])
      .default('process'),
  )
  .addOption(
    new Option(
      '--dialect <dialect>',
      'speak to participants as unified-testing or as test-plans (legacy) does',
    )
      .choices(['unified', 'legacy'])
      .default('unified'),
  )
  .addOption(
    new Option('--workers <n>', 'cells at a time')
      .env('WORKER_COUNT')
      .argParser(whole(1, 64))
      .default(availableParallelism(), 'one per CPU'),
  )
  .option('--timeout <seconds>', 'for one cell', whole(1, 3600), 60)
  .option(
    '--repeat <n>',
    'run every cell n times; it passes if all runs pass (default: 1; with --conditions 20)',
    whole(1, 1000),
  )
  .option(
    '--conditions <names>',
    'run the cells under these network conditions: names with commas in between, or all',
  )
  .addOption(
    new Option('--pairs <which>', 'only cells where both sides are the same, or one is ours')
      .choices(['all', ...Object.keys(PAIRS)])
      .default('all'),
  )
  .option(
    '--seed <n>',
    'decides with --conditions which packets are lost',
    whole(0, 2 ** 32 - 1),
    1,
  )
  .option('--shard <i/n>', 'run only the i-th of n parts (merge puts them together)')
  .option(
    '--listener-ip <ip>',
    'what listeners bind to (default: 127.0.0.1; 0.0.0.0 with --exec docker)',
  )
  .option('--require-all', 'fail if an implementation had to be skipped', false)
  .option('--debug', 'participants log every step', process.env.DEBUG === 'true')
  .option('--no-retry', 'do not run a failed cell once more with traces and debug logs')
  .option('--list-tests', 'print the selected tests and stop', false)
  .option('--list-images', 'print the implementations and stop', false)
  .option('--show-ignored', 'with --list-tests: the others too', false)
  .option('--check-deps', 'say whether Redis (or Docker) is there, and stop', false)
  .addOption(new Option('-y, --yes', 'accepted, as nothing is asked').hideHelp())
  .addHelpText(
    'after',
    `
Filters are parts joined by |: a part matches every name that contains it, ~name is an alias of
the capability file, !part is everything that does not match. First select, then ignore.

Examples:
  libp2p-lean-matrix                                       the whole matrix
  libp2p-lean-matrix --impl-select 'lean|go' --transport-select quic-v1
  libp2p-lean-matrix --test-select 'libp2p-lean-v0.1 x rust-v0.57 (quic-v1)' --debug --repeat 10
  libp2p-lean-matrix --impl-ignore '!~libp2p-lean' --list-tests
  libp2p-lean-matrix --shard 2/4 --out part-2`,
  );

main.action(
  exitsWith((options: Flags & { imageSelect?: string; imageIgnore?: string }) => {
    const { imageSelect, imageIgnore } = options;
    return run({
      ...options,
      implSelect: options.implSelect ?? imageSelect,
      implIgnore: options.implIgnore ?? imageIgnore,
    });
  }),
);
common(program.command('merge'))
  .description('puts the results of shards, or of repeated runs, together')
  .argument('<results...>', 'results.json files')
  .action(exitsWith((files: string[], options: Flags) => merge(files, options)));

await runProgram(program);
