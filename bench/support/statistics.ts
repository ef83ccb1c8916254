/** Medians, quartiles and rounds, of which all numbers of the benchmarks are made. */

import * as d3 from 'd3-array';
import { messageOf } from '../../src/errors.ts';

/** The median and quartiles of some measurements. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** NaN when there are no values. */
export const median = (values: readonly number[]): number => d3.median(values) ?? Number.NaN;

/** Median and quartiles. */
export const spread = (values: readonly number[]): Spread => ({
  median: median(values),
  low: d3.quantile(values, 0.25) ?? Number.NaN,
  high: d3.quantile(values, 0.75) ?? Number.NaN,
});

/**
 * The median of `values[i] / reference[i]`: both were measured in round i, one right after the other,
 * so whatever else the machine did then affects both.
 */
export const ratio = (values: readonly number[], reference: readonly number[]): number =>
  median(values.map((value, round) => value / (reference[round] ?? Number.NaN)));

/** The median of `values[i] - reference[i]`, both of round i. */
export const difference = (values: readonly number[], reference: readonly number[]): number =>
  median(values.map((value, round) => value - (reference[round] ?? Number.NaN)));

/**
 * Measures every candidate once a round, A B C A B C …, after `warmUp` rounds that do not count.
 *
 * @returns for each candidate the result of each round.
 */
export const interleave = async <C extends { readonly name: string }, M>(
  candidates: readonly C[],
  options: { readonly rounds: number; readonly warmUp?: number; readonly what: string },
  measure: (candidate: C) => Promise<M>,
): Promise<Map<C, M[]>> => {
  const { rounds, warmUp = 1, what } = options;
  const measured = new Map<C, M[]>(candidates.map((candidate) => [candidate, []]));
  for (let round = -warmUp; round < rounds; round++) {
    const label = round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`;
    process.stderr.write(`${what}: ${label}\n`);
    for (const candidate of candidates) {
      const result = await attempt(candidate.name, () => measure(candidate));
      if (round >= 0) measured.get(candidate)?.push(result);
    }
  }
  return measured;
};

/** A busy machine may lose a handshake; what fails three times is an error. */
const attempt = async <M>(name: string, measure: () => Promise<M>, left = 3): Promise<M> => {
  try {
    return await measure();
  } catch (error) {
    if (left === 1) throw error;
    process.stderr.write(`${name}: ${messageOf(error)}; trying again\n`);
    return attempt(name, measure, left - 1);
  }
};
