import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { summarize } from '../../src/harness/perf-statistics.ts';

describe('the perf suite’s statistics', () => {
  it('are those of the example in its docs/write-a-perf-test-app.md', () => {
    const given = [2.06, 2.02, 2.05, 2.04, 2.07, 2.05, 2.06, 2.06, 2.05, 2.06];
    const { samples, outliers, ...rest } = summarize(given);
    assert.deepEqual(
      Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, value.toFixed(3)])),
      { min: '2.040', q1: '2.050', median: '2.055', q3: '2.060', max: '2.070' },
    );
    assert.deepEqual(outliers, [2.02]);
    assert.deepEqual(samples, [2.02, 2.04, 2.05, 2.05, 2.05, 2.06, 2.06, 2.06, 2.06, 2.07]);
    assert.equal(given[0], 2.06, 'what was given is left alone');
  });

  it('interpolate quartiles between neighbours', () => {
    const { q1, median, q3 } = summarize([4, 1, 3, 2]);
    assert.deepEqual([q1, median, q3], [1.75, 2.5, 3.25]);
  });

  it('leave outliers on both sides out of minimum and maximum', () => {
    const { min, max, outliers, samples } = summarize([100, 10, 11, 12, 11, 10, 12, -100]);
    assert.deepEqual([min, max, outliers], [10, 12, [-100, 100]]);
    assert.equal(samples.length, 8);
  });

  it('take a sample on the fence for usual', () => {
    // Quartiles 1 and 3, so the fences are -2 and 6.
    assert.deepEqual(summarize([0, 1, 2, 3, 6]).outliers, []);
    assert.deepEqual(summarize([0, 1, 2, 3, 6.1]).outliers, [6.1]);
  });

  it('are the sample where there is one, and fail where there is none', () => {
    const one = { min: 7, q1: 7, median: 7, q3: 7, max: 7, outliers: [], samples: [7] };
    assert.deepEqual(summarize([7]), one);
    assert.throws(() => summarize([]), RangeError);
  });
});
