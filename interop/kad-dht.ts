/**
 * `libp2p-lean-matrix kad-dht`: unified-testing's kad-dht suite on this machine, every bootstrap with
 * every provider and querier. docs/matrix.md is its manual.
 *
 * Exit codes: 0 every cell passed, or is accounted for; 1 a cell failed, a listed cell passed, or the
 * run is not complete; 2 a flag or a file is wrong, or something is missing; 130/143 stopped by a signal.
 */
import { mkdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { createProgram, exitsWith, print, runProgram, say, whole } from './command-line.ts';
import { allKadDhtCells, type KadDhtSelection, selectKadDhtCells } from './kad-dht/cells.ts';
import {
  judgeKadDhtCell,
  type KadDhtCellResult,
  type KadDhtResults,
  writeKadDhtResults,
} from './kad-dht/results.ts';
import { type KadDhtAttempt, runKadDhtAttempt } from './kad-dht/run-cell.ts';
import { noRedis } from './redis-server.ts';
import { MatrixError } from './runner/error.ts';
import { readImages } from './runner/images.ts';
import { readKnownFailures } from './runner/known-failures.ts';
import { ROOT, resolveParticipants } from './runner/participants.ts';
import { exitCodeOf } from './runner/processes.ts';
import { duration } from './runner/progress.ts';
import { startWatchedRedis } from './runner/redis.ts';
import { stopOnSignals } from './runner/signals.ts';

interface Flags extends KadDhtSelection {
  readonly images: string;
  readonly known: string;
  readonly out: string;
  readonly workers: number;
  readonly timeout: number;
  readonly repeat: number;
  readonly debug: boolean;
  readonly listTests: boolean;
}

/** The run itself; resolves to the exit code. */
const run = async (flags: Flags): Promise<number> => {
  const images = await readImages(flags.images);
  const known = await readKnownFailures(flags.known, allKadDhtCells(images));
  const wanted = selectKadDhtCells(images, flags);
  if (flags.listTests) {
    for (const { name } of wanted) print(name);
    return 0;
  }
  if (wanted.length === 0) {
    throw new MatrixError('the selection leaves no test to run; see --list-tests');
  }
  if (noRedis !== false) throw new MatrixError(noRedis);

  const stop = stopOnSignals();
  const inPlay = new Set(wanted.flatMap((cell) => [cell.bootstrap, cell.provider, cell.querier]));
  const implementations = images.implementations.filter(({ id }) => inPlay.has(id));
  const resolved = await resolveParticipants(implementations, 'process', 'unified');
  const { participants, versions, skipped } = resolved;
  for (const [id, why] of skipped) say(`skipped ${id}: ${why}`);
  const cells = wanted.filter((cell) =>
    [cell.bootstrap, cell.provider, cell.querier].every((id) => participants.has(id)),
  );
  if (skipped.size > 0) say(`${wanted.length - cells.length} cells fall away with what is skipped`);

  stop.begin();
  const { controller } = stop;
  const out = resolve(flags.out);
  // The logs of an earlier run would be taken for this one's.
  await rm(join(out, 'logs'), { recursive: true, force: true });
  await mkdir(join(out, 'logs'), { recursive: true });
  const startedAt = new Date();
  const done: KadDhtCellResult[] = [];
  const redis = await startWatchedRedis(join(out, 'logs', 'redis.log'));
  redis.lost.then(
    (why) => controller.abort(why),
    () => undefined,
  );
  const queue = cells[Symbol.iterator]();
  const work = async (): Promise<void> => {
    for (const cell of queue) {
      const attempts: KadDhtAttempt[] = [];
      for (let number = 1; number <= flags.repeat && !controller.signal.aborted; number++) {
        attempts.push(
          await runKadDhtAttempt({
            cell,
            number,
            out,
            timeoutSecs: flags.timeout,
            redisAddress: redis.address,
            participants,
            debug: flags.debug,
            signal: controller.signal,
          }),
        );
      }
      // An attempt that was interrupted is not a result.
      if (controller.signal.aborted) return;
      const result = judgeKadDhtCell(cell, attempts, known);
      done.push(result);
      const failed = attempts.find(({ failure }) => failure !== null);
      const detail = failed === undefined ? '' : `: ${failed.failure}`;
      const took = attempts.map(({ durationMs }) => (durationMs / 1000).toFixed(1)).join(' ');
      say(`[${done.length}/${cells.length}] ${result.verdict} ${cell.name} ${took} s${detail}`);
    }
  };
  try {
    say(`running ${cells.length} cells with ${flags.workers} workers`);
    await Promise.all(Array.from({ length: Math.min(flags.workers, cells.length) }, work));
  } finally {
    await redis.stop();
  }
  const order = new Map(cells.map(({ name }, index) => [name, index]));
  done.sort((a, b) => (order.get(a.name) ?? 0) - (order.get(b.name) ?? 0));
  const results: KadDhtResults = {
    schema: 1,
    suite: 'kad-dht',
    startedAt: startedAt.toISOString(),
    completedAt: new Date().toISOString(),
    interrupted: controller.signal.aborted ? String(controller.signal.reason) : null,
    implementations: implementations.map(({ id }) => ({
      id,
      version: versions.get(id) ?? null,
      skipped: skipped.get(id) ?? null,
    })),
    cells: done,
  };
  return conclude(results, out, stop.caught());
};

/** Writes the files and prints a summary; resolves to the exit code. */
const conclude = async (
  results: KadDhtResults,
  out: string,
  caught: NodeJS.Signals | undefined,
): Promise<number> => {
  const files = await writeKadDhtResults(results, out);
  const count = (verdict: string) =>
    results.cells.filter((cell) => cell.verdict === verdict).length;
  for (const cell of results.cells) {
    if (cell.verdict === 'fail') print(`FAILED  ${cell.name}`);
    if (cell.verdict === 'unexpected-pass') {
      print(`PASSED  ${cell.name}: it is listed as a known failure; take it off the list`);
    }
  }
  const took = duration(Date.parse(results.completedAt) - Date.parse(results.startedAt));
  print(
    `${results.cells.filter(({ status }) => status === 'pass').length} of ${results.cells.length} cells passed, ${count('fail')} failed, ${count('known')} failed as listed, ${count('peer')} failed between peers in ${took}`,
  );
  if (results.interrupted !== null) print(`not complete: ${results.interrupted}`);
  print(files.join('\n'));
  if (caught !== undefined) return exitCodeOf(caught);
  const good = results.interrupted === null && results.cells.length > 0;
  return good && count('fail') + count('unexpected-pass') === 0 ? 0 : 1;
};

const INTEROP = join(ROOT, 'interop');
const program = createProgram(
  'libp2p-lean-matrix kad-dht',
  "Runs unified-testing's kad-dht suite: every bootstrap × provider × querier.",
)
  .option('--impl-select <filter>', 'implementations')
  .option('--impl-ignore <filter>')
  .option('--transport-select <filter>', 'transports: tcp, which upstream runs, and quic-v1')
  .option('--transport-ignore <filter>')
  .option('--test-select <filter>', 'tests, by their whole name')
  .option('--test-ignore <filter>')
  .option('--workers <n>', 'cells at a time', whole(1, 64), availableParallelism())
  .option('--timeout <s>', 'for one cell', whole(1, 3600), 120)
  .option('--repeat <n>', 'every cell n times; it passes if all pass', whole(1, 1000), 1)
  .option('--images <file>', 'the capability file', join(INTEROP, 'kad-dht-images.yaml'))
  .option(
    '--known <file>',
    'the list of known failures',
    join(INTEROP, 'kad-dht-known-failures.yaml'),
  )
  .option('--out <folder>', 'where the results go', join(ROOT, 'results', 'kad-dht'))
  .option('--list-tests', 'print the selected tests and stop', false)
  .option('--debug', 'participants log every step', false)
  .action(exitsWith(run));

await runProgram(program);
