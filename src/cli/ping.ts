/** `libp2p-lean ping`: ping(8) for libp2p nodes. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { type CloseReason, describeClose } from '../close-reason.ts';
import type { Connection } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { messageOf } from '../errors.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { PING, PING_SIZE, ping as pingOnce } from '../protocols/ping.ts';
import type { Stream } from '../stream.ts';
import { parseAddress } from './addresses.ts';
import { EXIT, note, onTermination, print } from './process.ts';
import { type TransportFlags, transportsOf } from './transports.ts';

export interface PingFlags extends TransportFlags {
  /** Pings to send; without end when absent. */
  readonly count?: number;
  /** Seconds between pings. */
  readonly interval: number;
  /** Seconds for the dial, and for each answer. */
  readonly timeout: number;
  readonly json?: boolean;
  readonly debug?: boolean;
}

/**
 * Dials `addresses` at once, pings over the connection that was made first and prints what ping(8)
 * prints. Resolves with 0 when any ping was answered and none failed for good, else with 1.
 *
 * @throws ERR_CONFIG when an address is malformed; what dialling throws.
 */
export const ping = async (addresses: readonly string[], flags: PingFlags): Promise<number> => {
  const given = addresses.map(parseAddress);
  const signal = onTermination(EXIT.failed);
  const say = flags.json ? sayJson : sayText;
  const node = await createNode({ transports: transportsOf(flags) });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  try {
    // Not counted as time of the dial.
    await node.prepare({ addresses: given });
    const start = performance.now();
    const connection = await dial(node, given, flags, signal);
    const connectMs = performance.now() - start;
    const address = `${connection.remoteAddress}/p2p/${connection.remotePeer}`;
    const { description } = connection;
    await say({ event: 'connected', address, description, raced: given.length, connectMs });
    const sent = await pingUntil(connection, flags, signal, say);
    await say({ event: 'summary', address, ...sent, ...statistics(sent.rtts) });
    if (sent.failure !== undefined) note(`libp2p-lean: ${sent.failure}`);
    return sent.rtts.length > 0 && sent.failure === undefined ? EXIT.ok : EXIT.failed;
  } finally {
    await node.close();
  }
};

const dial = async (
  node: LeanNode,
  addresses: readonly Multiaddr[],
  flags: PingFlags,
  parent: AbortSignal,
): Promise<Connection> => {
  const deadline = startDeadline(flags.timeout * 1000, 'dialling', parent);
  try {
    return await node.dial(addresses, { signal: deadline.signal });
  } finally {
    deadline.clear();
  }
};

interface Sent {
  readonly sent: number;
  /** Milliseconds, in the order of the answers. */
  readonly rtts: readonly number[];
  readonly timeMs: number;
  /** Why pinging ended before its time. */
  readonly failure: string | undefined;
}

/** Pings one after the other, until the count is reached, `signal` fires or the connection ends. */
const pingUntil = async (
  connection: Connection,
  flags: PingFlags,
  signal: AbortSignal,
  say: Say,
): Promise<Sent> => {
  const stop = new AbortController();
  let closed: CloseReason | undefined;
  connection.closed.then((reason) => {
    closed = reason;
    stop.abort();
  });
  const either = AbortSignal.any([signal, stop.signal]);
  const start = performance.now();
  const rtts: number[] = [];
  const count = flags.count ?? Number.POSITIVE_INFINITY;
  let stream: Stream | undefined;
  let failure: string | undefined;
  let seq = 0;
  while (seq < count && !either.aborted) {
    seq++;
    const next = performance.now() + flags.interval * 1000;
    try {
      const open = stream ?? (await connection.newStream(PING, { signal: either }));
      stream = open;
      const rttMs = await pingOnce(open, { timeout: flags.timeout * 1000, signal: either });
      rtts.push(rttMs);
      await say({ event: 'answer', peer: connection.remotePeer.toString(), seq, rttMs });
    } catch (error) {
      if (signal.aborted) seq--; // it was on its way: neither answered nor lost
      if (either.aborted) break;
      await say({ event: 'lost', seq, error: messageOf(error) });
      stream?.reset();
      stream = undefined;
    }
    if (seq < count) await pause(next - performance.now(), either);
  }
  stream?.closeWrite();
  if (closed !== undefined && !signal.aborted) failure = describeClose(closed);
  return { sent: seq, rtts, timeMs: performance.now() - start, failure };
};

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (ms <= 0 || signal.aborted) {
      setImmediate(resolve);
      return;
    }
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });

interface Statistics {
  readonly minMs: number;
  readonly avgMs: number;
  readonly maxMs: number;
  /** Standard deviation, as ping(8) has it. */
  readonly mdevMs: number;
}

/** Nothing for no round trips. */
export const statistics = (rtts: readonly number[]): Statistics | undefined => {
  if (rtts.length === 0) return undefined;
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const avgMs = mean(rtts);
  return {
    minMs: rtts.reduce((a, b) => Math.min(a, b)),
    avgMs,
    maxMs: rtts.reduce((a, b) => Math.max(a, b)),
    mdevMs: Math.sqrt(mean(rtts.map((rtt) => (rtt - avgMs) ** 2))),
  };
};

type Line =
  | { event: 'connected'; address: string; description: string; raced: number; connectMs: number }
  | { event: 'answer'; peer: string; seq: number; rttMs: number }
  | { event: 'lost'; seq: number; error: string }
  | ({ event: 'summary'; address: string } & Sent & Partial<Statistics>);

type Say = (line: Line) => Promise<void>;

const sayText: Say = (line) => print(`${textOf(line)}\n`);

const textOf = (line: Line): string => {
  switch (line.event) {
    case 'connected': {
      const won = line.raced > 1 ? `, first of ${line.raced} addresses` : '';
      const how = `${line.description}, connected in ${line.connectMs.toFixed(3)} ms${won}`;
      return `PING ${line.address}: ${how}`;
    }
    case 'answer':
      return `${PING_SIZE} bytes from ${line.peer}: seq=${line.seq} time=${line.rttMs.toFixed(3)} ms`;
    case 'lost':
      return `no answer: seq=${line.seq} (${line.error})`;
    case 'summary': {
      const title = `\n--- ${line.address} ping statistics ---\n`;
      const time = `time ${line.timeMs.toFixed(0)} ms`;
      const totals = `${line.sent} sent, ${line.rtts.length} answered, ${lossOf(line)}% loss, ${time}`;
      if (line.minMs === undefined) return title + totals;
      const numbers = [line.minMs, line.avgMs, line.maxMs, line.mdevMs];
      const rtt = numbers.map((value) => value?.toFixed(3)).join('/');
      return `${title}${totals}\nrtt min/avg/max/mdev = ${rtt} ms`;
    }
  }
};

const sayJson: Say = (line) => print(`${JSON.stringify(jsonOf(line))}\n`);

const jsonOf = (line: Line): object => {
  if (line.event !== 'summary') return line;
  const { rtts, failure, ...rest } = line;
  return { ...rest, answered: rtts.length, lossPercent: lossOf(line), ...(failure && { failure }) };
};

const lossOf = ({ sent, rtts }: Sent): number =>
  sent === 0 ? 0 : Math.round((100 * (sent - rtts.length)) / sent);
