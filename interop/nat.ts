/**
 * `make nat`: which NATs a hole punch gets through, in a laboratory of network namespaces (docs/nat.md).
 *
 * Exit codes: 0 every cell of ours ended as expected of its NATs, and got through wherever a peer gets through
 * with itself; 1 one did not, or the run is not complete; 2 a flag is wrong. Where no laboratory can be made it
 * is skipped with one line, and the exit code is 0.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { buildPeers } from './build-peers.ts';
import { createProgram, exitsWith, print, runProgram, say, whole } from './command-line.ts';
import { aimLines, compare } from './nat/aim.ts';
import { type NatCell, type NatParticipant, natCells } from './nat/cells.ts';
import { isInside, lackOfDelay, lackOfLaboratory, runInside } from './nat/isolate.ts';
import { type Delays, prepareLaboratories } from './nat/laboratory.ts';
import { runNatAttempt } from './nat/run-cell.ts';
import { startRedis } from './redis-server.ts';
import { MatrixError } from './runner/error.ts';
import type { Participant } from './runner/executors.ts';
import { expand, narrow } from './runner/filter.ts';
import { packageOf } from './runner/package.ts';
import { ROOT } from './runner/participants.ts';
import { exitCodeOf } from './runner/processes.ts';
import { createReporter, duration } from './runner/progress.ts';
import {
  type ImplementationRecord,
  RESULTS_SCHEMA,
  type Results,
  succeeded,
  summarise,
} from './runner/results.ts';
import { runCells } from './runner/run-matrix.ts';
import { stopOnSignals } from './runner/signals.ts';
import { writeResults } from './runner/write-results.ts';

const OURS = 'libp2p-lean';
const PEERS: readonly NatParticipant[] = [
  { id: OURS, ours: true, assumesPortKept: false, neverSwapsRoles: false },
  {
    id: `${OURS}-quiche`,
    ours: true,
    assumesPortKept: false,
    neverSwapsRoles: false,
    engine: 'quiche',
  },
  { id: 'go-v0.51', ours: false, assumesPortKept: false, neverSwapsRoles: false },
  // libp2p-identify 0.48: an observed port that is not a listener's is replaced by the listener's.
  { id: 'rust-v0.57', ours: false, assumesPortKept: true, neverSwapsRoles: true },
];

/** A dialer that cannot get a direct connection is given less time than one that can. */
const PUNCH_TIMEOUT_SECS = { direct: 30, either: 30, relayed: 12 } as const;
const DELAYS: Delays = { relay: 15, dialer: 10, listener: 10 };

interface Flags {
  readonly select?: string;
  readonly ignore?: string;
  readonly repeat: number;
  readonly workers: number;
  readonly timeout: number;
  readonly delay: boolean;
  readonly out: string;
  readonly debug: boolean;
  readonly list: boolean;
}

const selectedCells = ({ select, ignore }: Flags): NatCell[] => {
  const ids = PEERS.map(({ id }) => id);
  const relays = PEERS.filter(({ engine }) => engine === undefined).map(({ id }) => id);
  const cells = natCells(PEERS, relays);
  const patterns = (filter: string | undefined): string[] | undefined =>
    filter === undefined || filter === '' ? undefined : expand(filter, ids, new Map());
  const names = new Set(
    narrow(
      cells.map(({ name }) => name),
      patterns(select),
      patterns(ignore),
    ),
  );
  return cells.filter(({ name }) => names.has(name));
};

const takingPart = (cells: readonly NatCell[]): ReadonlySet<string> =>
  new Set(cells.flatMap(({ dialer, listener, relay }) => [dialer, listener, relay]));

/** Ours and the peers that can be run here, by their id. */
const resolveParticipants = async (
  wanted: ReadonlySet<string>,
): Promise<{
  participants: Map<string, Participant>;
  implementations: ImplementationRecord[];
}> => {
  const participants = new Map<string, Participant>();
  const implementations: ImplementationRecord[] = [];
  for (const { id, ours, engine } of PEERS.filter((peer) => wanted.has(peer.id))) {
    const record = {
      id,
      ours,
      transports: engine === undefined ? ['quic-v1', 'tcp'] : ['quic-v1'],
      secureChannels: ['noise'],
      muxers: ['yamux'],
      dialOnly: [],
    };
    if (ours) {
      const { root, version } = await packageOf(ROOT);
      const command = [
        join(ROOT, 'node_modules/node/bin/node'),
        join(root, 'bin/libp2p-lean'),
        'hole-punch',
      ];
      const env = engine === undefined ? {} : { QUIC_ENGINE: engine };
      participants.set(id, { id, command, image: undefined, env });
      implementations.push({ ...record, version, skipped: null });
      continue;
    }
    const [peer] = await buildPeers([`hole-punch-${id}`], say);
    if (peer === undefined || 'skipped' in peer) {
      const skipped = peer?.skipped ?? 'it is not known';
      implementations.push({ ...record, version: null, skipped });
      continue;
    }
    participants.set(id, { id, command: peer.command, image: undefined, env: {} });
    implementations.push({ ...record, version: peer.version, skipped: null });
  }
  return { participants, implementations };
};

const run = async (flags: Flags): Promise<number> => {
  const selected = selectedCells(flags);
  if (flags.list) {
    for (const { name } of selected) print(name);
    return 0;
  }
  if (selected.length === 0)
    throw new MatrixError('the selection leaves no cell to run; see --list');
  const { participants, implementations } = await resolveParticipants(takingPart(selected));
  const cells = selected.filter((cell) =>
    [cell.dialer, cell.listener, cell.relay].every((id) => participants.has(id)),
  );
  const undelayed = flags.delay ? lackOfDelay() : 'not asked for';
  if (flags.delay && undelayed !== undefined) say(`packets are not delayed: ${undelayed}`);

  const out = resolve(flags.out);
  await rm(join(out, 'logs'), { recursive: true, force: true });
  await mkdir(join(out, 'logs'), { recursive: true });
  await prepareLaboratories();
  const redis = await startRedis({
    args: ['--bind', '0.0.0.0', '--protected-mode', 'no'],
    log: join(out, 'logs', 'redis.log'),
    detached: true,
  });
  const stop = stopOnSignals();
  stop.begin();
  const { controller } = stop;
  redis.lost.then((how) => controller.abort(`redis-server ended during the run (${how})`));

  const startedAt = new Date().toISOString();
  const done = await runCells({
    cells,
    known: new Map(),
    workers: flags.workers,
    repeat: flags.repeat,
    reporter: createReporter(process.stderr),
    stop: controller,
    attempt: (cell, number, worker) =>
      runNatAttempt({
        cell,
        number,
        out,
        slot: worker,
        delays: undelayed === undefined ? DELAYS : undefined,
        participants,
        redisPort: redis.port,
        timeoutSecs: flags.timeout,
        punchTimeoutSecs: PUNCH_TIMEOUT_SECS[cell.expected],
        debug: flags.debug,
        signal: controller.signal,
      }),
  });
  await redis.stop();
  const filters: Record<string, string> = {};
  for (const key of ['select', 'ignore'] as const) {
    if (flags[key]) filters[`--${key}`] = flags[key];
  }
  const results: Results = {
    schema: RESULTS_SCHEMA,
    suite: 'hole-punch',
    startedAt,
    completedAt: new Date().toISOString(),
    host: { os: process.platform, arch: process.arch, cpus: availableParallelism() },
    options: {
      exec: 'process',
      dialect: 'unified',
      workers: flags.workers,
      timeoutSecs: flags.timeout,
      repeat: flags.repeat,
      seed: 0,
      filters,
    },
    shards: [],
    interrupted: controller.signal.aborted
      ? `${String(controller.signal.reason)}; ${done.length} of ${cells.length} cells were run`
      : null,
    summary: summarise(done),
    implementations,
    cells: done,
  };
  const code = await conclude(results, out);
  const caught = stop.caught();
  return caught === undefined ? code : exitCodeOf(caught);
};

const conclude = async (results: Results, out: string): Promise<number> => {
  const files = await writeResults(results, out);
  for (const { id, skipped } of results.implementations) {
    if (skipped !== null) print(`skipped ${id}: ${skipped}`);
  }
  for (const cell of results.cells) {
    if (cell.verdict === 'fail') print(`FAILED  ${cell.name}`);
  }
  const comparisons = compare(results.cells);
  const aim = aimLines(comparisons);
  await writeFile(join(out, 'aim.txt'), `${aim.join('\n')}\n`);
  for (const line of aim) print(line);
  const { summary } = results;
  const took = duration(Date.parse(results.completedAt) - Date.parse(results.startedAt));
  print(
    `${summary.passed} of ${summary.total} cells ended as expected, ${summary.failed - summary.peer} did not${summary.peer > 0 ? `, ${summary.peer} between peers did not` : ''}, in ${took}`,
  );
  if (results.interrupted !== null) print(`not complete: ${results.interrupted}`);
  print(files.join('\n'));
  return succeeded(results) && !comparisons.some(({ missed }) => missed) ? 0 : 1;
};

/** Peers are built before the laboratory is entered: inside, no package registry can be reached. */
const enter = async (flags: Flags): Promise<number> => {
  if (flags.list || isInside()) return run(flags);
  const lack = lackOfLaboratory();
  if (lack !== undefined) {
    say(`skipped: the NAT laboratory: ${lack}`);
    return 0;
  }
  await resolveParticipants(takingPart(selectedCells(flags)));
  return runInside(import.meta.filename, process.argv.slice(2));
};

const program = createProgram(
  'nat',
  'Which NATs a hole punch gets through: every cell in a laboratory of network namespaces.',
)
  .option('--select <filter>', 'cells by their name, parts joined by |')
  .option('--ignore <filter>', 'leave cells out')
  .option('--repeat <n>', 'run every cell n times', whole(1, 1000), 1)
  .option('--workers <n>', 'laboratories at a time', whole(1, 32), availableParallelism())
  .option('--timeout <seconds>', 'for one attempt', whole(1, 3600), 90)
  .option('--no-delay', 'packets take no time')
  .option('--out <folder>', 'where the results go', join(ROOT, 'results/nat'))
  .option('--debug', 'participants log every step', process.env.DEBUG === 'true')
  .option('--list', 'print the selected cells and stop', false)
  .action(exitsWith(enter));

await runProgram(program);
// Redis's log may still be open.
process.exit();
