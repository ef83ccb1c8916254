/**
 * What a stream and a connection cost when there are 1, 100, 1,000 and 10,000 of them, over TCP and
 * Noise: milliseconds, and memory while all are open. Dialer and listener are two cold processes.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './support/participants.ts';
import { type Command, end, lines, start } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, median, ratio, spread } from './support/statistics.ts';

const COUNTS = [1, 100, 1_000, 10_000] as const;
/** The count that the others are compared with: one alone waits for its round trips. */
const REFERENCE = 100;
/** A few are opened several times, and the median counts. */
const REPEAT = 500;
const MOST_REPEATS = 25;
/** Connections take 11,000 handshakes a round. */
const CONNECTION_ROUNDS = 1 / 3;
/** Garbage is collected before every weighing, which is no reason to forget compiled code. */
const V8_FLAGS = ['--expose-gc', '--no-flush-bytecode'];
/** Ten thousand handshakes on a busy machine, ms. */
const TIMEOUT = 300_000;

interface Contestant extends Command {
  readonly name: string;
  readonly counts: readonly number[];
  readonly rounds: number;
}

/** Of each, at one count. */
interface Cost {
  readonly count: number;
  readonly ms: number;
  /** Of both ends together. */
  readonly bytes: number;
}

/** Files that a process may have open here. */
const fileLimit = (): number => {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
};

const contestant = (
  what: 'streams' | 'connections',
  muxer: string,
  counts: readonly number[],
  rounds: number,
): Contestant => ({
  name: `${what}, ${muxer}`,
  file: process.execPath,
  args: [...V8_FLAGS, path.join(ROOT, 'bench/tcp-scale-peer.ts'), what, muxer],
  counts,
  rounds,
});

const measure = async ({ file, args, counts }: Contestant): Promise<Cost[]> => {
  const begin = async (...role: string[]) => {
    const command: Command = { file, args: [...args, ...role] };
    const child = start(command);
    const next = lines(child, command, TIMEOUT);
    const first = await next();
    const ask = (line: string): Promise<string> => {
      child.stdin?.write(`${line}\n`);
      return next();
    };
    return { first, ask, end: () => end(child) };
  };
  const listener = await begin('listen');
  const dialer = await begin('dial', listener.first);
  /** Bytes in use at both ends when `count` are open. */
  const weigh = async (count: number): Promise<number> => {
    const weights = [await dialer.ask(`weigh ${count}`), await listener.ask(`weigh ${count}`)];
    return weights.reduce((sum, weight) => sum + Number(weight), 0);
  };
  const costs: Cost[] = [];
  try {
    for (const count of counts) {
      const ms: number[] = [];
      const bytes: number[] = [];
      const repeats = Math.min(MOST_REPEATS, Math.max(1, Math.ceil(REPEAT / count)));
      while (ms.length < repeats) {
        const before = await weigh(0);
        ms.push(Number(await dialer.ask(`open ${count}`)) / count);
        bytes.push(((await weigh(count)) - before) / count);
        // The last are left to the end of the processes.
        if (count !== counts.at(-1)) await dialer.ask('close');
      }
      costs.push({ count, ms: median(ms), bytes: median(bytes) });
    }
  } finally {
    await Promise.all([dialer.end(), listener.end()]);
  }
  return costs;
};

export const tcpScale = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const limit = fileLimit();
  // A few files are open anyway.
  const connections = COUNTS.filter((count) => count + 100 < limit);
  for (const count of COUNTS.filter((it) => !connections.includes(it))) {
    process.stderr.write(`skipped: ${count} connections (a process may open ${limit} files)\n`);
  }
  const fewer = Math.ceil(rounds * CONNECTION_ROUNDS);
  const streams = ['yamux', 'mplex'].map((muxer) => contestant('streams', muxer, COUNTS, rounds));
  const connecting = contestant('connections', 'yamux', connections, fewer);
  const options = { warmUp: 0, what: 'tcp-scale' };
  const measured = new Map([
    ...(await interleave(streams, { ...options, rounds }, measure)),
    ...(await interleave([connecting], { ...options, rounds: fewer }, measure)),
  ]);

  return {
    id: 'tcp-scale',
    rows: [
      ['what', 'open', 'ms each', 'of that at 100', 'bytes each, both ends', 'of that at 100'],
      ...[...streams, connecting].flatMap((it) => {
        const runs = measured.get(it) ?? [];
        const column = (count: number, key: 'ms' | 'bytes'): number[] =>
          runs.map((costs) => costs.find((cost) => cost.count === count)?.[key] ?? Number.NaN);
        return it.counts.map((count) => {
          const cells = (['ms', 'bytes'] as const).flatMap((key) => {
            const values = column(count, key);
            const compared = shownRatio(ratio(values, column(REFERENCE, key)));
            return [shown(spread(values), key === 'ms' ? 3 : 0), compared];
          });
          return [it.name, String(count), ...cells];
        });
      }),
    ],
    note: `Median and quartiles of ${rounds} pairs of cold processes (${fewer} for connections), interleaved, after a warm-up in each; all over Noise. ${conditions()}`,
  };
};
