/** `libp2p-lean perf --to`, which measures throughput and prints it for people, and the server's side, `--perf`. */

import type { Connection } from '../connection.ts';
import { isLeanError, LeanError, messageOf } from '../errors.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { handlePerf, PERF, perf } from '../protocols/perf.ts';
import { parseDialAddress } from './addresses.ts';
import type { ShowProgress } from './perf-progress.ts';
import { EXIT, note, onTermination, print } from './process.ts';
import { formatRate, formatSize } from './size.ts';
import { type TransportFlags, transportsOf } from './transports.ts';

export interface PerfFlags extends TransportFlags {
  /** Bytes, of each stream; with neither, 1 GiB each way. */
  readonly upload?: number;
  readonly download?: number;
  /** Streams that share the connection at once. */
  readonly streams: number;
  readonly json?: boolean;
  readonly debug?: boolean;
}

type Direction = 'upload' | 'download';
const GIB = 2 ** 30;
/** How often the progress bar is updated; milliseconds. */
const PROGRESS_INTERVAL = 100;

/**
 * Uploads, then downloads, and prints how long that took. On a terminal a bar shows its progress.
 *
 * @throws ERR_CONFIG when the address is malformed; what dialling and transfers throw.
 */
export const perfTo = async (to: string, flags: PerfFlags): Promise<number> => {
  const address = parseDialAddress(to);
  const signal = onTermination(EXIT.failed);
  const live = process.stderr.isTTY && !flags.json && !flags.debug;
  const show = live ? (await import('./perf-progress.ts')).showProgress : undefined;
  const node = await createNode({ transports: transportsOf(flags) });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  try {
    // Not counted as time of the dial.
    await node.prepare({ addresses: [address] });
    const start = performance.now();
    const connection = await node.dial(address, { signal });
    const connectMs = performance.now() - start;
    const { description } = connection;
    const remote = `${connection.remoteAddress}/p2p/${connection.remotePeer}`;
    await say(flags, { event: 'connected', address: remote, description, connectMs });
    const neither = flags.upload === undefined && flags.download === undefined;
    const wanted = [
      ['upload', flags.upload ?? (neither ? GIB : 0)],
      ['download', flags.download ?? (neither ? GIB : 0)],
    ] as const;
    for (const [direction, bytes] of wanted) {
      if (bytes === 0 && !(flags[direction] === 0)) continue;
      const timeMs = await transfer(connection, direction, bytes, flags.streams, signal, show);
      const total = bytes * flags.streams;
      await say(flags, { event: direction, bytes: total, streams: flags.streams, timeMs });
    }
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

/** Moves `bytes` on each of `streams` concurrent streams. @returns the time until all were answered, milliseconds. */
const transfer = async (
  connection: Connection,
  direction: Direction,
  bytes: number,
  streams: number,
  signal: AbortSignal,
  show: ShowProgress | undefined,
): Promise<number> => {
  const moved = new Array<number>(streams).fill(0);
  const bar = show?.(direction, bytes * streams);
  const start = performance.now();
  const one = async (index: number): Promise<void> => {
    const stream = await connection.newStream(PERF, { signal });
    const [up, down] = direction === 'upload' ? [bytes, 0] : [0, bytes];
    await perf(stream, up, down, {
      signal,
      progressInterval: PROGRESS_INTERVAL,
      ...(bar && {
        onProgress: ({ uploaded, downloaded }) => {
          moved[index] = uploaded + downloaded;
          if (index === 0) bar.update(moved.reduce((sum, value) => sum + value, 0));
        },
      }),
    });
    moved[index] = bytes;
  };
  try {
    await Promise.all(moved.map((_, index) => one(index)));
    return performance.now() - start;
  } catch (error) {
    if (!isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED')) throw error;
    const what = 'the other side must serve it, as `libp2p-lean listen --perf` does';
    throw new LeanError(error.code, `${messageOf(error)}; ${what}`, { cause: error });
  } finally {
    bar?.clear();
  }
};

/** Serves perf, and prints on stderr what each transfer moved. */
export const serve = (node: LeanNode): void =>
  node.handle(PERF, async (stream, { remotePeer }) => {
    const start = performance.now();
    try {
      const { uploaded, downloaded } = await handlePerf(stream);
      const seconds = ((performance.now() - start) / 1000).toFixed(3);
      const both = `${formatSize(uploaded)} up, ${formatSize(downloaded)} down`;
      note(`${remotePeer}: ${both} in ${seconds} s`);
    } catch (error) {
      note(`${remotePeer}: ${messageOf(error)}`);
      throw error;
    }
  });

type Line =
  | { event: 'connected'; address: string; description: string; connectMs: number }
  | { event: Direction; bytes: number; streams: number; timeMs: number };

const say = (flags: PerfFlags, line: Line): Promise<void> =>
  print(`${flags.json ? JSON.stringify(jsonOf(line)) : textOf(line)}\n`);

const textOf = (line: Line): string => {
  if (line.event === 'connected') {
    const { address, description, connectMs } = line;
    return `PERF ${address}: ${description}, connected in ${connectMs.toFixed(3)} ms`;
  }
  const { event, bytes, streams, timeMs } = line;
  const over = streams === 1 ? '' : ` over ${streams} streams`;
  const took = `${formatSize(bytes)}${over} in ${(timeMs / 1000).toFixed(3)} s`;
  return `${event.padEnd(8)} ${took}, ${formatRate(bytes, timeMs)}`;
};

const jsonOf = (line: Line): object =>
  line.event === 'connected'
    ? line
    : { ...line, bitsPerSecond: Math.round((line.bytes * 8000) / line.timeMs) };
