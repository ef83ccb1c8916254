/** Runs the selected cells with a number of workers and puts the results together. */
import { availableParallelism } from 'node:os';
import { messageOf } from '../../src/errors.ts';
import type { Cell, Shard } from './cells.ts';
import { dockerExecutor, type Participant, processExecutor } from './executors.ts';
import type { Images } from './images.ts';
import type { KnownFailure } from './known-failures.ts';
import type { Dialect } from './participant.ts';
import {
  type Attempt,
  type CellResult,
  type ImplementationRecord,
  judge,
  RESULTS_SCHEMA,
  type Results,
  summarise,
} from './results.ts';
import { runAttempt } from './run-cell.ts';

/** Told about everything that happens, as it happens. */
export interface Reporter {
  begin(total: number, workers: number): void;
  cell(result: CellResult): void;
  end(): void;
}

export interface RunOptions {
  readonly images: Images;
  readonly cells: readonly Cell[];
  readonly known: ReadonlyMap<string, KnownFailure>;
  readonly participants: ReadonlyMap<string, Participant>;
  /** Every implementation of the run, with what was skipped and why. */
  readonly implementations: readonly ImplementationRecord[];
  readonly out: string;
  readonly exec: 'process' | 'docker';
  readonly dialect: Dialect;
  readonly workers: number;
  readonly timeoutSecs: number;
  readonly repeat: number;
  /** Of network conditions. */
  readonly seed: number;
  readonly listenerIp: string;
  readonly debug: boolean;
  /** Whether a cell that failed unexpectedly is run once more, with traces. */
  readonly retry: boolean;
  readonly shard: Shard | undefined;
  readonly filters: Readonly<Record<string, string>>;
  /** Aborted by Ctrl-C or SIGTERM; its reason is a line. */
  readonly signal: AbortSignal;
  readonly reporter: Reporter;
}

/** How the attempts of a run are made. */
export interface CellRun<C extends Cell> {
  readonly cells: readonly C[];
  readonly known: ReadonlyMap<string, KnownFailure>;
  readonly workers: number;
  readonly repeat: number;
  readonly reporter: Reporter;
  /** Ends the run; its reason is a line. */
  readonly stop: AbortController;
  /**
   * @param worker from 0: no two attempts at once have the same
   * @throws what keeps the run from going on
   */
  readonly attempt: (cell: C, number: number, worker: number) => Promise<Attempt>;
  /**
   * One more attempt at a cell that failed unexpectedly, with traces: the network does what it did in the failed
   * one. None if missing.
   *
   * @param number of the first attempt that failed
   */
  readonly retry?: (cell: C, number: number, worker: number) => Promise<Attempt>;
}

/** Runs every cell, as often as told. Resolves with those that were not cut short, in the order of `cells`. */
export const runCells = async <C extends Cell>(run: CellRun<C>): Promise<CellResult[]> => {
  const { cells, repeat, reporter, stop } = run;
  const results = new Map<string, CellResult>();
  reporter.begin(cells.length, run.workers);
  const queue = cells[Symbol.iterator]();
  const retryOf = async (
    cell: C,
    { verdict, attempts }: CellResult,
    worker: number,
  ): Promise<Pick<CellResult, 'retry'>> => {
    if (run.retry === undefined || stop.signal.aborted) return {};
    // What is listed is explained already.
    if (verdict !== 'fail' && verdict !== 'peer') return {};
    const number = 1 + attempts.findIndex(({ failure }) => failure !== null);
    const retry = await run.retry(cell, number, worker).catch((error: unknown) => {
      stop.abort(messageOf(error));
    });
    return retry === undefined || retry.failure?.kind === 'interrupted' ? {} : { retry };
  };
  const work = async (worker: number) => {
    for (const cell of queue) {
      if (stop.signal.aborted) return;
      const attempts: Attempt[] = [];
      for (let number = 1; number <= repeat && !stop.signal.aborted; number++) {
        const attempt = await run.attempt(cell, number, worker).catch((error: unknown) => {
          // Not caused by a participant (no Redis for it, a full disk): the run cannot go on.
          stop.abort(messageOf(error));
        });
        if (attempt === undefined) return;
        if (attempt.failure?.kind !== 'interrupted') attempts.push(attempt);
      }
      if (attempts.length < repeat) return;
      const first = judge(cell, attempts, run.known);
      const result = { ...first, ...(await retryOf(cell, first, worker)) };
      results.set(cell.name, result);
      reporter.cell(result);
    }
  };
  try {
    await Promise.all(
      Array.from({ length: Math.min(run.workers, cells.length) }, (_, worker) => work(worker)),
    );
  } finally {
    reporter.end();
  }
  return cells.flatMap((cell) => results.get(cell.name) ?? []);
};

/**
 * Runs every cell. Cells that a stop cut short are left out of the results.
 *
 * @throws MatrixError when the run cannot begin (no Redis, no Docker engine)
 */
export const runMatrix = async (options: RunOptions): Promise<Results> => {
  const { cells, known, out, repeat, reporter, timeoutSecs, workers } = options;
  const startedAt = new Date().toISOString();
  const stop = new AbortController();
  const onAbort = () => stop.abort(options.signal.reason);
  if (options.signal.aborted) onAbort();
  else options.signal.addEventListener('abort', onAbort, { once: true });

  let done: CellResult[] = [];
  if (cells.length > 0) {
    const executor = await (options.exec === 'docker' ? dockerExecutor : processExecutor)(options);
    executor.lost.then((reason) => stop.abort(reason));
    const attemptAt = (cell: Cell, number: number, traced: boolean) =>
      runAttempt({
        cell,
        number,
        out,
        timeoutSecs,
        traced,
        signal: stop.signal,
        prepare: (testKey) => executor.prepare(cell, testKey, number, traced),
      });
    const attempt = (cell: Cell, number: number) => attemptAt(cell, number, false);
    const retry = options.retry && ((cell: Cell, number: number) => attemptAt(cell, number, true));
    try {
      done = await runCells({
        ...{ cells, known, workers, repeat, reporter, stop, attempt },
        ...(retry && { retry }),
      });
    } finally {
      options.signal.removeEventListener('abort', onAbort);
      await executor.close();
    }
  }

  return {
    schema: RESULTS_SCHEMA,
    startedAt,
    completedAt: new Date().toISOString(),
    host: { os: process.platform, arch: process.arch, cpus: availableParallelism() },
    options: {
      exec: options.exec,
      dialect: options.dialect,
      workers,
      timeoutSecs,
      repeat,
      seed: options.seed,
      filters: options.filters,
    },
    shards: options.shard === undefined ? [] : [options.shard],
    interrupted: stop.signal.aborted
      ? `${String(stop.signal.reason)}; ${done.length} of ${cells.length} cells were run`
      : null,
    summary: summarise(done),
    implementations: options.implementations,
    cells: done,
  };
};
