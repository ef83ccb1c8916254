/**
 * A metrics registry that writes Prometheus' text format (version 0.0.4), for `listen --metrics`. Its output equals
 * prom-client's (a test compares the two), in a hundredth of the code.
 */

import type {
  MetricCounter,
  MetricHistogram,
  MetricLabels,
  MetricOptions,
  MetricsRegistry,
} from '../node/metrics.ts';

export interface TextRegistry extends MetricsRegistry {
  /** All metrics, in the text format. */
  text(): string;
}

export const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** The most label sets of one metric; what has further ones is not counted. */
const MAX_SERIES = 1_000;

export const createTextRegistry = (): TextRegistry => {
  const metrics: (() => string[])[] = [];

  const counter = ({ name, help, labelNames }: MetricOptions): MetricCounter => {
    const values = new Map<string, number>();
    metrics.push(() => [
      ...headOf(name, help, 'counter'),
      ...[...values].map(([labels, value]) => `${name}${braced(labels)} ${value}`),
    ]);
    return {
      inc: (labels, value = 1) => {
        const key = labelsOf(labelNames, labels);
        const before = values.get(key);
        if (before === undefined && values.size >= MAX_SERIES) return;
        values.set(key, (before ?? 0) + value);
      },
    };
  };

  const histogram = ({
    name,
    help,
    labelNames,
    buckets,
  }: MetricOptions & { readonly buckets: readonly number[] }): MetricHistogram => {
    const series = new Map<string, { readonly counts: number[]; sum: number; count: number }>();
    metrics.push(() => [
      ...headOf(name, help, 'histogram'),
      ...[...series].flatMap(([labels, { counts, sum, count }]) => {
        const bucket = (bound: number | string, value: number): string =>
          `${name}_bucket${braced(`le="${bound}"`, labels)} ${value}`;
        return [
          ...buckets.map((bound, i) => bucket(bound, counts[i] ?? 0)),
          bucket('+Inf', count),
          `${name}_sum${braced(labels)} ${sum}`,
          `${name}_count${braced(labels)} ${count}`,
        ];
      }),
    ]);
    return {
      observe: (labels, value) => {
        const key = labelsOf(labelNames, labels);
        const one = series.get(key) ?? { counts: buckets.map(() => 0), sum: 0, count: 0 };
        if (!series.has(key) && series.size >= MAX_SERIES) return;
        series.set(key, one);
        for (const [i, bound] of buckets.entries()) {
          if (value <= bound) one.counts[i] = (one.counts[i] ?? 0) + 1;
        }
        one.sum += value;
        one.count++;
      },
    };
  };

  return {
    counter,
    histogram,
    text: () => `${metrics.map((lines) => lines().join('\n')).join('\n\n')}\n`,
  };
};

const headOf = (name: string, help: string, type: string): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
];

/** `a="x",b="y"`, escaped as the format requires. */
const labelsOf = (names: readonly string[], labels: MetricLabels): string =>
  names
    .filter((name) => labels[name] !== undefined)
    .map((name) => `${name}="${escaped(labels[name] ?? '')}"`)
    .join(',');

const escaped = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');

const braced = (...labels: readonly string[]): string => {
  const some = labels.filter((it) => it !== '').join(',');
  return some === '' ? '' : `{${some}}`;
};
