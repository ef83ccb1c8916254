/** Fuzzes one target in a thread of its own, and judges what came of it. */

import { Worker } from 'node:worker_threads';
import type { Finding, LoopResult, MemorySample } from './fuzz-loop.ts';
import type { TargetName } from './target.ts';
import type { WorkerData } from './worker.ts';

export interface RunOptions {
  readonly seed: number;
  readonly executions: number;
  /** ms */
  readonly time: number;
}

export interface RunResult extends LoopResult {
  /** What the memory in use grew by over the second half, bytes an execution. */
  readonly growth: number;
}

/**
 * An input that has not been answered for so many looks hangs, and how far they are apart, ms. Looks are counted, not the
 * time between them: the process may have been stopped meanwhile. What is slow is found by the loop itself.
 */
const HANG_LOOKS = 60;
const LOOK = 1_000;
const MAX_INPUT = 1 << 16;
/** Growth of the memory in use that is not the collector's and the compiler's, bytes. */
const MAX_GROWTH = 8 << 20;

/** Rejects when the thread cannot run at all; what the parser does wrong is `finding`. */
export const runTarget = async (name: TargetName, options: RunOptions): Promise<RunResult> => {
  const progress = new Int32Array(new SharedArrayBuffer(8));
  const input = new Uint8Array(new SharedArrayBuffer(MAX_INPUT));
  const data: WorkerData = { name, ...options, progress, input };
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: data });
  const start = performance.now();
  let watch: NodeJS.Timeout | undefined;
  const hang = new Promise<LoopResult>((resolve) => {
    let before = -1;
    let looks = 0;
    watch = setInterval(() => {
      const now = Atomics.load(progress, 0);
      looks = now === before && now > 0 ? looks + 1 : 0;
      before = now;
      if (looks < HANG_LOOKS) return;
      const finding: Finding = {
        kind: 'hang',
        input: input.slice(0, progress[1]),
        message: `no answer within ${(HANG_LOOKS * LOOK) / 1000} s`,
      };
      const seconds = (performance.now() - start) / 1000;
      resolve({
        executions: now,
        seconds,
        places: 0,
        corpus: [],
        memory: [],
        finding,
      });
    }, LOOK);
  });
  const done = new Promise<LoopResult>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the thread ended with ${code}`)));
  });
  try {
    const result = await Promise.race([done, hang]);
    const { growth, total } = growthOf(result.memory);
    const finding =
      result.finding ??
      (total > MAX_GROWTH
        ? { kind: 'memory' as const, input: new Uint8Array(0), message: `grew by ${total} bytes` }
        : undefined);
    return { ...result, growth, finding };
  } finally {
    clearInterval(watch);
    await worker.terminate();
  }
};

/** By how much memory grew from the third to the last quarter of the run: medians, so that no single sample counts. */
export const growthOf = (samples: readonly MemorySample[]): { growth: number; total: number } => {
  const quarter = samples.length >> 2;
  if (quarter === 0) return { growth: 0, total: 0 };
  const middle = (part: readonly MemorySample[]): MemorySample =>
    part.toSorted((a, b) => a.bytes - b.bytes)[part.length >> 1] as MemorySample;
  const third = samples.slice(2 * quarter, 3 * quarter);
  const last = samples.slice(3 * quarter);
  const total = middle(last).bytes - middle(third).bytes;
  const between =
    (last[last.length >> 1]?.executions ?? 0) - (third[third.length >> 1]?.executions ?? 0);
  return { total, growth: between > 0 ? total / between : 0 };
};
