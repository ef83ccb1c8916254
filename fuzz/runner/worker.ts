/** The thread in which the loop runs; `fuzz.ts` watches it. */

import { parentPort, workerData } from 'node:worker_threads';
import { corpusFile, readCorpus, regressionsFile } from './corpus.ts';
import { startCoverage } from './coverage.ts';
import { fuzzLoop, type LoopOptions, type LoopResult } from './fuzz-loop.ts';
import { loadTarget, type TargetName } from './target.ts';

export interface WorkerData extends Pick<LoopOptions, 'seed' | 'executions' | 'time'> {
  readonly name: TargetName;
  /** The number of executions so far, and the length of the input that runs. */
  readonly progress: Int32Array;
  /** The input that runs. */
  readonly input: Uint8Array;
}

export type WorkerResult = LoopResult;

const { name, seed, executions, time, progress, input } = workerData as WorkerData;

// Keeps the thread while a parser waits for what does not come: that is for the watcher to see.
const alive = setInterval(() => {}, 1 << 30);

const ROOT = new URL('../../', import.meta.url).href;
const coverage = startCoverage((url) => url.startsWith(ROOT) && !url.startsWith(`${ROOT}fuzz/`));
const result = await fuzzLoop({
  target: await loadTarget(name),
  coverage,
  corpus: [...readCorpus(regressionsFile(name)), ...readCorpus(corpusFile(name))],
  seed,
  executions,
  time,
  onInput: (bytes) => {
    input.set(bytes.subarray(0, input.length));
    progress[1] = Math.min(bytes.length, input.length);
    Atomics.add(progress, 0, 1);
  },
});
coverage.stop();
clearInterval(alive);
parentPort?.postMessage(result);
