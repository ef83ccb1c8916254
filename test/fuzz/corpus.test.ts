/** Every input in fuzz/corpus and fuzz/regressions once more: what was a bug stays mended. */

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { corpusFile, readCorpus, regressionsFile } from '../../fuzz/runner/corpus.ts';
import { loadTarget, TARGETS } from '../../fuzz/runner/target.ts';
import { SUITE } from '../support/suite-limit.ts';

describe('fuzzed parsers take their corpus', SUITE, () => {
  for (const name of TARGETS) {
    test(name, async () => {
      const { fuzz } = await loadTarget(name);
      const inputs = [...readCorpus(regressionsFile(name)), ...readCorpus(corpusFile(name))];
      assert.ok(inputs.length > 0, 'there is no corpus');
      for (const input of inputs) {
        try {
          await fuzz(input);
        } catch (cause) {
          const base64 = Buffer.from(input).toString('base64');
          throw new Error(`on the input ${base64}`, { cause });
        }
      }
    });
  }
});

test('every target is listed, and only those', () => {
  const folder = new URL('../../fuzz/targets/', import.meta.url);
  const files = readdirSync(folder).map((file) => file.replace(/\.ts$/, ''));
  assert.deepEqual(files.toSorted(), TARGETS.toSorted());
});
