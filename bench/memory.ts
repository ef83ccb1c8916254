/**
 * Resident memory of a listener: without connections, then with 100 and with 1,000 idle ones, each from a
 * peer of its own. The dialers are our nodes, one for each connection, in one process beside it.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startRedis } from '../interop/redis-server.ts';
import { type Participant, participants, startPublished } from './support/participants.ts';
import { type Command, end, lines, residentBytes, start } from './support/processes.ts';
import { type Section, shown, startSection } from './support/report.ts';
import { interleave, spread } from './support/statistics.ts';

const COUNTS = [100, 1000] as const;
/** Lets what the handshakes left behind be released; below every stack's idle timeout, ms. */
const SETTLE = 1_000;
const MIB = 2 ** 20;

export const memory = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const redis = await startRedis();
  const dialers: Command = {
    file: process.execPath,
    args: [fileURLToPath(new URL('idle-dialers.ts', import.meta.url)), String(Math.max(...COUNTS))],
  };
  const dialing = start(dialers);
  const nextLine = lines(dialing, dialers);
  await nextLine();

  let tests = 0;
  /** MiB idle, then per count. */
  const measure = async (listener: Participant): Promise<number[]> => {
    const { child, address } = await startPublished(listener, redis, `memory-${tests++}`);
    const resident = async () => {
      await delay(SETTLE);
      return residentBytes(child.pid ?? 0) / MIB;
    };
    const measured = [await resident()];
    const tell = async (line: string, wanted: string): Promise<void> => {
      dialing.stdin?.write(`${line}\n`);
      const answer = await nextLine();
      if (answer !== wanted) throw new Error(`${listener.name}, ${line}: ${answer}`);
    };
    try {
      for (const count of COUNTS) {
        await tell(`${count} ${address}`, String(count));
        measured.push(await resident());
      }
    } finally {
      await tell('0', '0').finally(() => end(child));
    }
    return measured;
  };

  const listeners = await participants();
  const measured = await interleave(listeners, { rounds, what: 'memory' }, measure);
  await end(dialing);
  await redis.stop();

  const most = COUNTS[1];
  return {
    id: 'memory',
    rows: [
      [
        'listener',
        'idle, MiB',
        ...COUNTS.map((count) => `${count} connections, MiB`),
        'a connection, KiB',
      ],
      ...listeners.map((listener) => {
        const runs = measured.get(listener) ?? [];
        const column = (index: number) => runs.map((run) => run[index] ?? Number.NaN);
        const each = runs.map(([idle = 0, , full = 0]) => ((full - idle) / most) * 1024);
        return [
          listener.name,
          ...[0, 1, 2].map((index) => shown(spread(column(index)), 0)),
          shown(spread(each), 0),
        ];
      }),
    ],
    note: `VmRSS; median and quartiles of ${rounds} cold listeners each, interleaved; the last column is (${most} connections − idle) / ${most}. ${conditions()}`,
  };
};
