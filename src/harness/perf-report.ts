/** What a perf dialer prints: the lines and indents that the suite's `grep` looks for, nothing else. */

import { type Summary, summarize } from './perf-statistics.ts';

/** Samples in the order they were taken; none of them may be empty. */
export interface PerfMeasurement {
  /** Gbit/s, 10^9 bits. */
  readonly upload: readonly number[];
  readonly download: readonly number[];
  /** Milliseconds. */
  readonly latency: readonly number[];
}

/** libp2p/unified-testing `perf/lib/run-single-test.sh`. Ends with a newline. */
export const formatPerfReport = ({ upload, download, latency }: PerfMeasurement): string =>
  [
    ...section('upload', summarize(upload), 'Gbps', 2),
    ...section('download', summarize(download), 'Gbps', 2),
    ...section('latency', summarize(latency), 'ms', 3),
    '',
  ].join('\n');

const section = (name: string, summary: Summary, unit: string, decimals: number): string[] => {
  const list = (values: readonly number[]): string =>
    `[${values.map((value) => value.toFixed(decimals)).join(', ')}]`;
  const { min, q1, median, q3, max } = summary;
  return [
    `${name}:`,
    `  iterations: ${summary.samples.length}`,
    ...Object.entries({ min, q1, median, q3, max }).map(
      ([key, value]) => `  ${key}: ${value.toFixed(decimals)}`,
    ),
    `  outliers: ${list(summary.outliers)}`,
    `  samples: ${list(summary.samples)}`,
    `  unit: ${unit}`,
  ];
};
