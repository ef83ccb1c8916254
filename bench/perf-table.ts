/** The results of bench/perf.ts, and perf.md, their tables. */

import { tableOf } from './support/report.ts';
import { median, ratio, spread } from './support/statistics.ts';

export interface Pair {
  readonly transport: string;
  readonly dialer: string;
  readonly listener: string;
  /** One side at least is this project. */
  readonly ours: boolean;
  /** Of a peer of another checkout: the name of ours that it is compared with. */
  readonly before?: string;
}

export interface Sample {
  /** Gbit/s of a transfer, else ms. */
  readonly value: number;
  /** Seconds of CPU for each GiB, dialer's and listener's. */
  readonly cpu?: readonly [number, number];
  /** Bytes resident at most. */
  readonly peak?: readonly [number, number];
}

export interface PairResult extends Pair {
  /** By the names of `FIGURES`, a sample for each round. */
  readonly figures: Readonly<Record<string, readonly Sample[]>>;
  /** By the same names, why a figure could not be taken. */
  readonly failures: Readonly<Record<string, string>>;
}

export interface PerfRun {
  readonly command: string;
  readonly date: string;
  readonly machine: string;
  /** Load averages before and after. */
  readonly load: readonly [number, number];
  readonly rounds: number;
  /** Of one transfer, all streams together. */
  readonly bytes: number;
  readonly counts: {
    readonly roundTrips: number;
    readonly handshakes: number;
    readonly streams: number;
  };
  /** With `--before`: the commits of the other checkout and of this one. */
  readonly before?: string;
  readonly after?: string;
  readonly results: readonly PairResult[];
}

export interface FigureText {
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'more' | 'less';
}

export const FIGURE_TEXTS = (run: PerfRun): readonly FigureText[] => [
  { name: 'upload', title: 'Upload, one stream', unit: 'Gbit/s', digits: 2, better: 'more' },
  { name: 'download', title: 'Download, one stream', unit: 'Gbit/s', digits: 2, better: 'more' },
  {
    name: 'streams',
    title: `Upload, ${run.counts.streams} streams`,
    unit: 'Gbit/s',
    digits: 2,
    better: 'more',
  },
  {
    name: 'roundTrip',
    title: 'One byte there and back',
    unit: 'ms',
    digits: 2,
    better: 'less',
  },
  {
    name: 'handshake',
    title: 'Handshake and one byte there and back',
    unit: 'ms',
    digits: 2,
    better: 'less',
  },
];

/** Empty where it failed in any round. */
export const valuesOf = (result: PairResult | undefined, figure: string): number[] =>
  result?.failures[figure] === undefined
    ? (result?.figures[figure] ?? []).map(({ value }) => value)
    : [];

const sideOf = (
  result: PairResult,
  figures: readonly string[],
  of: 'cpu' | 'peak',
  side: 0 | 1,
): number[] =>
  figures.flatMap((figure) =>
    (result.figures[figure] ?? []).flatMap((sample) => sample[of]?.[side] ?? []),
  );

export const alone = (run: PerfRun, transport: string, name: string): PairResult | undefined =>
  run.results.find(
    (it) => it.transport === transport && it.dialer === name && it.listener === name,
  );

const TRANSFERS = ['upload', 'download', 'streams'];

export const perfTable = (run: PerfRun): string => {
  const transports = [...new Set(run.results.map(({ transport }) => transport))].filter(
    (it) => it !== 'udp',
  );
  const mebibytes = run.bytes / 2 ** 20;
  const { roundTrips, handshakes, streams } = run.counts;
  return [
    '# Performance',
    '',
    `\`${run.command}\`, ${run.date}; ${run.machine}; load average ${run.load[0].toFixed(1)} before, ` +
      `${run.load[1].toFixed(1)} after.`,
    '',
    `Two processes over loopback: dialer and listener share this machine's cores. Medians of ` +
      `${run.rounds} rounds, each of which takes every figure of every pair in turn; ratios are medians ` +
      `of the rounds' ratios. Each transfer moves ${mebibytes} MiB (${streams} streams share them) on a ` +
      `connection of its own that was made before; a round trip is the median of ${roundTrips}, each on ` +
      `a new stream, a handshake that of ${handshakes} in a row, each with a first byte there and back. ` +
      `CPU is all threads of a process, user and system, for each GiB; memory the largest resident size.`,
    '',
    'Datagrams of QUIC: go, rust, js and quinn take at most 1452 or 1472 bytes and send no longer ones; node:quic sends 1200. ' +
      'Those of the quiche engine are 1350 bytes long, but up to 16,336 from it to itself and to node:quic ' +
      'at loopback addresses; the row that says so has 1350 for all.',
    '',
    'Charts of the same figures: results/perf.html, which the same command writes. What was compared: ' +
      'interop/perf-peers/README.md. Where the time goes: docs/performance.md.',
    ...comparison(run),
    ...transports.flatMap((transport) => [
      '',
      `## ${transport === 'tcp' ? 'tcp, noise, yamux' : transport}`,
      '',
      tableOf(figureRows(run, transport)),
      '',
      tableOf(costRows(run, transport)),
      ...failureLines(run, transport),
    ]),
    '',
    ...section('Against the aims', aimRows(run), 'Each implementation with itself, `quic-v1`.'),
    ...section(
      'Raw sockets',
      rawSocketRows(run),
      'The upper bound: without encryption and without a protocol, 64 KiB chunks over TCP; 1350-byte ' +
        'datagrams over UDP, a window of 512, every 32nd acknowledged.',
    ),
  ].join('\n');
};

/** Nothing when there is no row but the head. */
const section = (title: string, rows: readonly string[][], note: string): string[] =>
  rows.length < 2 ? [] : [`## ${title}`, '', tableOf(rows), '', note, ''];

/** Ours of this checkout beside those of another one, measured in the same rounds. */
const comparison = (run: PerfRun): string[] => {
  if (run.before === undefined) return [];
  const rows = run.results.flatMap((earlier) => {
    const later = alone(run, earlier.transport, earlier.before ?? '');
    return later === undefined ? [] : comparisonRows(run, earlier, later);
  });
  const head = ['', 'figure', 'before', 'after', 'after, of before'];
  const note = `Medians of ${run.rounds} rounds; the ratio is the median of the rounds' ratios.`;
  const title = `Before (${run.before}) and after (${run.after})`;
  return ['', ...section(title, [head, ...rows], note).slice(0, -1)];
};

const comparisonRows = (run: PerfRun, earlier: PairResult, later: PairResult): string[][] => {
  const name = `${later.dialer}, ${later.transport}`;
  const figures = FIGURE_TEXTS(run).map(({ name: figure, title, unit, digits }) => ({
    text: `${title}, ${unit}`,
    digits,
    of: (result: PairResult) => valuesOf(result, figure),
  }));
  const costs = ['upload', 'download'].map((figure) => ({
    text: `CPU of both sides, ${figure}, s/GiB`,
    digits: 2,
    of: (result: PairResult) => bothSides(result, figure),
  }));
  return [...figures, ...costs].map(({ text, digits, of }) => [
    name,
    text,
    median(of(earlier)).toFixed(digits),
    median(of(later)).toFixed(digits),
    `${ratio(of(later), of(earlier)).toFixed(2)} ×`,
  ]);
};

/** CPU seconds for each GiB of dialer and listener together, for each round. */
const bothSides = (result: PairResult, figure: string): number[] =>
  (result.figures[figure] ?? []).flatMap(({ cpu }) => (cpu === undefined ? [] : cpu[0] + cpu[1]));

const failureLines = (run: PerfRun, transport: string): string[] => {
  const lines = run.results
    .filter((it) => it.transport === transport)
    .flatMap(({ failures }) => [...new Set(Object.values(failures))].map((why) => `- ${why}`));
  return lines.length === 0 ? [] : ['', 'Failed:', '', ...lines];
};

const isRawSocket = ({ dialer }: Pair): boolean => dialer.startsWith('node:');

const figureRows = (run: PerfRun, transport: string): string[][] => {
  const texts = FIGURE_TEXTS(run);
  const reference = alone(run, transport, 'js-libp2p');
  const rows = run.results.filter((it) => it.transport === transport && !isRawSocket(it));
  return [
    ['dialer', 'listener', ...texts.flatMap(({ title, unit }) => [`${title}, ${unit}`, 'of js'])],
    ...rows.map((result) => [
      result.dialer,
      result.listener,
      ...texts.flatMap(({ name, digits }) => {
        if (result.failures[name] !== undefined) return ['failed', ''];
        const values = valuesOf(result, name);
        const { median: middle, low, high } = spread(values);
        const shown = [middle, low, high].map((value) => value.toFixed(digits));
        const others = valuesOf(reference, name);
        const compared = others.length > 0 ? ratio(values, others).toFixed(2) : '';
        return [`${shown[0]} (${shown[1]}–${shown[2]})`, compared];
      }),
    ]),
  ];
};

const costRows = (run: PerfRun, transport: string): string[][] => {
  const rows = run.results.filter((it) => it.transport === transport && !isRawSocket(it));
  const cpu = (result: PairResult, figure: string, side: 0 | 1): string =>
    result.failures[figure] === undefined
      ? median(sideOf(result, [figure], 'cpu', side)).toFixed(2)
      : '–';
  const peak = (result: PairResult, side: 0 | 1): string =>
    (Math.max(...sideOf(result, TRANSFERS, 'peak', side)) / 2 ** 20).toFixed(0);
  return [
    [
      'dialer',
      'listener',
      'upload: dialer, CPU s/GiB',
      'listener',
      'download: dialer, CPU s/GiB',
      'listener',
      'peak: dialer, MiB',
      'listener',
    ],
    ...rows.map((result) => [
      result.dialer,
      result.listener,
      cpu(result, 'upload', 0),
      cpu(result, 'upload', 1),
      cpu(result, 'download', 0),
      cpu(result, 'download', 1),
      peak(result, 0),
      peak(result, 1),
    ]),
  ];
};

const rawSocketRows = (run: PerfRun): string[][] => [
  ['', 'Gbit/s', 'sender, CPU s/GiB', 'receiver, CPU s/GiB'],
  ...run.results
    .filter(isRawSocket)
    .map((result) => [
      `\`${result.dialer}\``,
      median(valuesOf(result, 'upload')).toFixed(2),
      median(sideOf(result, ['upload'], 'cpu', 0)).toFixed(2),
      median(sideOf(result, ['upload'], 'cpu', 1)).toFixed(2),
    ]),
];

/** The project's targets. */
const aimRows = (run: PerfRun): string[][] => {
  const of = (name: string) => alone(run, 'quic-v1', name);
  const quinn = of('libp2p-lean (quinn)');
  const quiche = of('libp2p-lean (quiche)');
  const node = of('libp2p-lean (node:quic)');
  const rows: string[][] = [['aim', 'measured']];
  const compare = (
    us: PairResult | undefined,
    figure: string,
    text: string,
    others: readonly string[],
  ): void => {
    const found = others.map(of).filter((it) => it !== undefined);
    if (us === undefined || found.length === 0) return;
    // Compared with the better one of each round.
    const best = valuesOf(us, figure).map((_, round) =>
      Math.max(...found.map((it) => valuesOf(it, figure)[round] ?? Number.NaN)),
    );
    rows.push([text, ratio(valuesOf(us, figure), best).toFixed(2)]);
  };
  const compareCpu = (us: PairResult | undefined, text: string, other: string): void => {
    const them = of(other);
    if (us === undefined || them === undefined) return;
    const spent = (it: PairResult): number =>
      median(sideOf(it, TRANSFERS, 'cpu', 0)) + median(sideOf(it, TRANSFERS, 'cpu', 1));
    rows.push([text, (spent(us) / spent(them)).toFixed(2)]);
  };
  const both = ['go-libp2p', 'rust-libp2p'];
  for (const figure of ['upload', 'download']) {
    compare(quinn, figure, `quinn, ${figure}: at least 1.0 × the better of go and rust`, both);
    compare(quiche, figure, `quiche, ${figure}: at least 2 × js-libp2p's`, ['js-libp2p']);
    compare(node, figure, `node:quic, ${figure}: at least 1.0 × the better of go and rust`, both);
  }
  const streams = `quinn, ${run.counts.streams} streams: at least 1.0 × go-libp2p`;
  compare(quinn, 'streams', streams, ['go-libp2p']);
  compareCpu(quinn, 'quinn, CPU of both sides: at most 1.0 × go-libp2p', 'go-libp2p');
  compare(quinn, 'roundTrip', 'quinn, one byte there and back: at most 1.0 × go-libp2p', [
    'go-libp2p',
  ]);
  compare(quinn, 'handshake', 'quinn, warm handshake and round trip: at most 1.1 × rust-libp2p', [
    'rust-libp2p',
  ]);
  for (const us of [quiche, node]) {
    const text = `${us?.dialer}, warm handshake and round trip: at most 1.0 × go-libp2p's`;
    compare(us, 'handshake', text, ['go-libp2p']);
  }
  return rows;
};
