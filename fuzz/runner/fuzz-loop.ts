/** The fuzzer's loop, for one target in one thread: mutate, run, keep what reaches new code. */

import { setImmediate as turn } from 'node:timers/promises';
import v8 from 'node:v8';
import vm from 'node:vm';
import type { Coverage, Places } from './coverage.ts';
import { mutate } from './mutate.ts';
import { seededRandom } from './random.ts';
import type { FuzzTarget } from './target.ts';

export interface LoopOptions {
  readonly target: FuzzTarget;
  readonly coverage: Coverage;
  /** What to start from, beside the target's seeds. */
  readonly corpus: readonly Uint8Array[];
  readonly seed: number;
  /** Ends after so many. */
  readonly executions: number;
  /** Ends after so long, ms. */
  readonly time: number;
  /** Told of every input before it runs, so that a hang can be blamed on it. */
  readonly onInput: (input: Uint8Array) => void;
}

export interface LoopResult {
  readonly executions: number;
  readonly seconds: number;
  /** Places in the code that were reached. */
  readonly places: number;
  /** All that reached new code, seeds and old corpus among them. */
  readonly corpus: readonly Uint8Array[];
  /** Bytes in use after garbage collection, over the run, without the corpus. */
  readonly memory: readonly MemorySample[];
  readonly finding: Finding | undefined;
}

export interface MemorySample {
  readonly executions: number;
  readonly bytes: number;
}

export interface Finding {
  readonly kind: 'error' | 'slow' | 'hang' | 'memory';
  readonly input: Uint8Array;
  readonly message: string;
}

/**
 * Inputs between two looks at coverage: few while there is much that is new, as each look that finds something
 * is followed by others, then more and more, as a look costs as much as a hundred inputs.
 */
const LEAST_BATCH = 500;
const MOST_BATCH = 16_000;
/** Bytes of the inputs of a batch. */
const MOST_BYTES = 8 << 20;
/** Inputs between two turns of the event loop. */
const TURN = 500;
/** An answer that takes this thread longer, at work or waiting, is a finding, ms. */
const SLOW = 100;
const ATTEMPTS = 5;
const DEFAULT_MAX_LENGTH = 1024;
const MEMORY_SAMPLES = 32;

v8.setFlagsFromString('--expose-gc');
const collectGarbage: () => void = vm.runInNewContext('gc');

/** Bytes in use by this thread, when garbage is gone. */
const memoryInUse = (): number => {
  collectGarbage();
  // Buffers are freed beside the first one.
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

export const fuzzLoop = async (options: LoopOptions): Promise<LoopResult> => {
  const { target, coverage, onInput } = options;
  const random = seededRandom(options.seed);
  const encoder = new TextEncoder();
  const words = (target.words ?? []).map((it) =>
    typeof it === 'string' ? encoder.encode(it) : it,
  );
  const maxLength = target.maxLength ?? DEFAULT_MAX_LENGTH;
  const corpus: Uint8Array[] = [];
  const other = (): Uint8Array => corpus[random.below(corpus.length)] ?? new Uint8Array(0);
  const context = { words, other, maxLength };
  const memory: MemorySample[] = [];
  let executions = 0;
  let finding: Finding | undefined;
  /** Errors that nobody caught: in callbacks, and of promises. */
  let stray: unknown;
  const onStray = (error: unknown): void => {
    stray ??= error ?? new Error('something was thrown that says nothing');
  };
  process.on('uncaughtException', onStray);
  process.on('unhandledRejection', onStray);

  const find = (kind: Finding['kind'], input: Uint8Array, error: unknown): void => {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    finding ??= { kind, input, message };
  };

  /** How long this thread has worked for an answer, and how long it has waited with nothing to do, ms. */
  const time = async (input: Uint8Array): Promise<{ work: number; wait: number }> => {
    const cpu = process.threadCpuUsage();
    const loop = performance.eventLoopUtilization();
    const running = target.fuzz(input);
    if (running !== undefined) await running;
    const { user, system } = process.threadCpuUsage(cpu);
    const { idle } = performance.eventLoopUtilization(loop);
    return { work: (user + system) / 1000, wait: idle };
  };

  const judgeTime = (input: Uint8Array, start: number): Promise<void> | undefined =>
    performance.now() - start > SLOW ? judgeSlow(input) : undefined;

  const finish = async (
    input: Uint8Array,
    start: number,
    running: Promise<void>,
  ): Promise<void> => {
    try {
      await running;
    } catch (error) {
      find('error', input, error);
      return;
    }
    await judgeTime(input, start);
  };

  const execute = (input: Uint8Array): Promise<void> | undefined => {
    onInput(input);
    executions++;
    const start = performance.now();
    let running: Promise<void> | void;
    try {
      running = target.fuzz(input);
    } catch (error) {
      find('error', input, error);
      return undefined;
    }
    return running === undefined ? judgeTime(input, start) : finish(input, start, running);
  };

  /** Others use the machine, too: the clock says little. What counts is the least of several attempts. */
  const judgeSlow = async (input: Uint8Array): Promise<void> => {
    let least = { work: Number.POSITIVE_INFINITY, wait: Number.POSITIVE_INFINITY };
    for (let attempt = 0; attempt < ATTEMPTS && least.work + least.wait > SLOW; attempt++) {
      const { work, wait } = await time(input);
      least = { work: Math.min(least.work, work), wait: Math.min(least.wait, wait) };
    }
    const { work, wait } = least;
    if (work + wait <= SLOW) return;
    const what = `took ${work.toFixed(0)} ms of work and ${wait.toFixed(0)} of waiting`;
    find('slow', input, `${what}, ${ATTEMPTS} times`);
  };

  /** At most `TURN` inputs. */
  const executeSome = async (inputs: readonly Uint8Array[]): Promise<void> => {
    for (const input of inputs) {
      // Without a promise for parsers that have none.
      const running = execute(input);
      if (running !== undefined) await running;
      if (finding !== undefined) return;
    }
    await turn();
    if (stray === undefined) return;
    // One of them: which one shows when each has a turn of its own.
    const first = stray;
    for (const input of inputs) {
      stray = undefined;
      await execute(input);
      await turn();
      await turn();
      if (stray !== undefined) {
        find('error', input, stray);
        return;
      }
    }
    find('error', inputs.at(-1) ?? new Uint8Array(0), first);
  };

  const executeAll = async (inputs: readonly Uint8Array[]): Promise<void> => {
    for (let at = 0; at < inputs.length && finding === undefined; at += TURN) {
      await executeSome(inputs.slice(at, at + TURN));
    }
  };

  /** Of `inputs`, which together reached `blocks`, those that the corpus needs in order to reach them join it. */
  const keep = async (inputs: readonly Uint8Array[], blocks: Places): Promise<void> => {
    const [only] = inputs;
    if (only !== undefined && inputs.length === 1) {
      corpus.push(only);
      coverage.know(blocks);
      return;
    }
    const half = inputs.length >> 1;
    for (const part of [inputs.slice(0, half), inputs.slice(half)]) {
      await executeAll(part);
      if (finding !== undefined) return;
      const reached = coverage.take().intersection(blocks);
      if (reached.size > 0) await keep(part, reached);
    }
  };

  /** Whether it reached anything new. */
  const runBatch = async (inputs: readonly Uint8Array[]): Promise<boolean> => {
    await executeAll(inputs);
    if (finding !== undefined) return false;
    const blocks = coverage.take();
    if (blocks.size === 0) return false;
    await keep(inputs, blocks);
    // Some code runs now and then whatever the input.
    coverage.know(blocks);
    return true;
  };

  const inputsFor = (batch: number): Uint8Array[] => {
    const inputs: Uint8Array[] = [];
    for (let bytes = 0; inputs.length < batch && bytes < MOST_BYTES; ) {
      const input = mutate(other(), random, context);
      inputs.push(input);
      bytes += input.length;
    }
    return inputs;
  };

  try {
    await turn();
    coverage.take();
    const start = performance.now();
    let nextSample = 0;
    let batch = LEAST_BATCH;
    for (const input of [...(await target.seeds()), ...options.corpus]) {
      await executeAll([input]);
      if (finding !== undefined) break;
      const blocks = coverage.take();
      if (blocks.size > 0 || corpus.length === 0) await keep([input], blocks);
    }
    while (finding === undefined && executions < options.executions) {
      const progress = Math.max(
        (performance.now() - start) / options.time,
        executions / options.executions,
      );
      if (progress * MEMORY_SAMPLES >= nextSample) {
        nextSample++;
        memory.push({ executions, bytes: memoryInUse() - bytesOf(corpus) });
      }
      if (progress >= 1) break;
      const begun = performance.now();
      const isNew = await runBatch(inputsFor(Math.min(batch, options.executions - executions)));
      const share = (performance.now() - begun) / options.time + batch / options.executions;
      // Between two samples of the memory there are several batches.
      if (isNew) batch = LEAST_BATCH;
      else if (share < 1 / (4 * MEMORY_SAMPLES)) batch = Math.min(2 * batch, MOST_BATCH);
    }
    return {
      executions,
      seconds: (performance.now() - start) / 1000,
      places: coverage.known,
      corpus,
      memory,
      finding,
    };
  } finally {
    process.off('uncaughtException', onStray);
    process.off('unhandledRejection', onStray);
  }
};

const bytesOf = (inputs: readonly Uint8Array[]): number =>
  inputs.reduce((sum, input) => sum + input.length, 0);
