/** The fuzzer finds what it is there to find: bugs that are put before it. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { startCoverage } from '../../fuzz/runner/coverage.ts';
import { fuzzLoop, type LoopResult } from '../../fuzz/runner/fuzz-loop.ts';
import { growthOf } from '../../fuzz/runner/run-target.ts';
import type { FuzzTarget } from '../../fuzz/runner/target.ts';
import { SUITE } from '../support/suite-limit.ts';

const loop = async (
  fuzz: FuzzTarget['fuzz'],
  executions: number,
  words: readonly string[] = [],
): Promise<LoopResult> => {
  const coverage = startCoverage((url) => url === import.meta.url);
  try {
    return await fuzzLoop({
      target: { fuzz, seeds: () => [new Uint8Array(8)], words },
      coverage,
      corpus: [],
      seed: 1,
      executions,
      time: Number.MAX_SAFE_INTEGER,
      onInput: () => {},
    });
  } finally {
    coverage.stop();
  }
};

describe('the fuzzer', SUITE, () => {
  test('gets through conditions one behind the other, which chance alone does not', async () => {
    const { finding, corpus } = await loop((data) => {
      // One in 2^24 at random; step by step, some thousand tries each.
      if (data[0] !== 0x66) return;
      if (data[1] !== 0x75) return;
      if (data[2] === 0x7a) throw new Error('planted');
    }, 500_000);
    assert.equal(finding?.kind, 'error');
    assert.match(finding?.message ?? '', /planted/);
    assert.equal(Buffer.from(finding?.input ?? []).toString('latin1', 0, 3), 'fuz');
    assert.ok(corpus.length > 1);
  });

  for (const [how, late] of [
    ['a rejection', "Promise.reject(new Error('planted'))"],
    ['in a callback', "setImmediate(() => { throw new Error('planted'); })"],
  ]) {
    test(`finds what is thrown where nobody waits for it: ${how}`, async () => {
      // In a thread: the test runner would take the error for itself.
      const code = `
        import { parentPort } from 'node:worker_threads';
        import { fuzzLoop } from '${new URL('../../fuzz/runner/fuzz-loop.ts', import.meta.url)}';
        const fuzz = (data) => { if (data.length > 12) { ${late}; } };
        const { finding } = await fuzzLoop({
          target: { fuzz, seeds: () => [new Uint8Array(8)] },
          coverage: { take: () => new Set(), know: () => {}, known: 0, stop: () => {} },
          corpus: [], seed: 1, executions: 100_000, time: 1e9, onInput: () => {},
        });
        parentPort.postMessage(finding);`;
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
      const [finding] = await once(worker, 'message');
      assert.match(finding.message, /planted/);
      assert.ok(finding.input.length > 12);
    });
  }

  test('finds what takes long', async () => {
    const { finding } = await loop((data) => {
      if (data.length < 12) return;
      const end = process.threadCpuUsage().user + 120_000;
      while (process.threadCpuUsage().user < end);
    }, 100_000);
    assert.equal(finding?.kind, 'slow');
  });

  test('finds what waits for a timer', async () => {
    const { finding } = await loop(async (data) => {
      if (data.length >= 12) await delay(200);
    }, 100_000);
    assert.match(finding?.message ?? '', /of waiting/);
  });

  test('sees memory that is kept', async () => {
    const kept: Uint8Array[] = [];
    const { memory } = await loop((data) => {
      if (data.length > 12) kept.push(new Uint8Array(1000));
    }, 6_000);
    const { growth } = growthOf(memory);
    assert.ok(growth > 50, `${growth} bytes an execution`);
    const honest = await loop((data) => void data.slice(), 6_000);
    assert.ok(growthOf(honest.memory).growth < 50);
  });

  test('ends without a finding where there is nothing to find', async () => {
    const { finding, executions } = await loop(() => {}, 10_000);
    assert.equal(finding, undefined);
    assert.ok(executions >= 10_000);
  });
});
