/**
 * The cost of a stream and of a connection when 1, 100, 1,000 and 10,000 of them are open, over TCP and
 * Noise: milliseconds to open one, and memory. Dialer and listener are two cold processes.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './support/participants.ts';
import { type Command, end, lines, start } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, median, ratio, spread } from './support/statistics.ts';

const COUNTS = [1, 100, 1_000, 10_000] as const;
/** The count that the others are compared with. (The time of a single one is mostly round trips.) */
const REFERENCE = 100;
/** Small counts are opened several times, until about so many were opened; the median counts. */
const REPEAT = 500;
const MOST_REPEATS = 25;
/** Fewer rounds for connections, as a round takes 11,000 handshakes. */
const CONNECTION_ROUNDS = 1 / 3;
/** Garbage is collected before memory is measured; compiled code must stay. */
const V8_FLAGS = ['--expose-gc', '--no-flush-bytecode'];
/** Ten thousand handshakes on a busy machine, ms. */
const TIMEOUT = 300_000;

interface Candidate extends Command {
  readonly name: string;
  readonly counts: readonly number[];
  readonly rounds: number;
}

/** The cost of each one at one count. */
interface Cost {
  readonly count: number;
  readonly ms: number;
  /** Of both ends together. */
  readonly bytes: number;
}

/** How many files a process may have open here. */
const fileLimit = (): number => {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
};

const candidate = (
  what: 'streams' | 'connections',
  muxer: string,
  counts: readonly number[],
  rounds: number,
): Candidate => ({
  name: `${what}, ${muxer}`,
  file: process.execPath,
  args: [...V8_FLAGS, path.join(ROOT, 'bench/tcp-scale-peer.ts'), what, muxer],
  counts,
  rounds,
});

const measure = async ({ file, args, counts }: Candidate): Promise<Cost[]> => {
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
  const bytesInUse = async (count: number): Promise<number> =>
    Number(await dialer.ask(`memory ${count}`)) + Number(await listener.ask(`memory ${count}`));
  const costs: Cost[] = [];
  try {
    for (const count of counts) {
      const ms: number[] = [];
      const bytes: number[] = [];
      const repeats = Math.min(MOST_REPEATS, Math.max(1, Math.ceil(REPEAT / count)));
      while (ms.length < repeats) {
        const before = await bytesInUse(0);
        ms.push(Number(await dialer.ask(`open ${count}`)) / count);
        bytes.push(((await bytesInUse(count)) - before) / count);
        // The last ones go with the processes.
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
  // A process has some other files open.
  const connections = COUNTS.filter((count) => count + 100 < limit);
  for (const count of COUNTS.filter((it) => !connections.includes(it))) {
    process.stderr.write(`skipped: ${count} connections (a process may open ${limit} files)\n`);
  }
  const fewer = Math.ceil(rounds * CONNECTION_ROUNDS);
  const streams = ['yamux', 'mplex'].map((muxer) => candidate('streams', muxer, COUNTS, rounds));
  const connecting = candidate('connections', 'yamux', connections, fewer);
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
