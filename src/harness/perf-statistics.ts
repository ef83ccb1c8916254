/**
 * The perf suite's statistics, as its reference images compute them: quartiles interpolated between
 * neighbours, outliers beyond 1.5 interquartile ranges, minimum and maximum of the rest.
 */

import { quantileSorted } from 'd3-array';

export interface Summary {
  readonly min: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly max: number;
  /** In ascending order, like `samples`, which holds them too. */
  readonly outliers: readonly number[];
  readonly samples: readonly number[];
}

/** @throws RangeError when there is no sample. */
export const summarize = (values: readonly number[]): Summary => {
  if (values.length === 0) throw new RangeError('no samples');
  const samples = [...values].sort((a, b) => a - b);
  const at = (share: number): number => quantileSorted(samples, share) ?? Number.NaN;
  const [q1, q3] = [at(0.25), at(0.75)];
  const reach = 1.5 * (q3 - q1);
  const isOutlier = (value: number): boolean => value < q1 - reach || value > q3 + reach;
  const usual = samples.filter((value) => !isOutlier(value));
  return {
    // Between the quartiles there is always a sample, so `usual` is never empty but for NaN.
    min: usual.at(0) ?? at(0),
    q1,
    median: at(0.5),
    q3,
    max: usual.at(-1) ?? at(1),
    outliers: samples.filter(isOutlier),
    samples,
  };
};
