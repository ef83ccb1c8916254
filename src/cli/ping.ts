/** `libp2p-lean ping`: ping(8) for libp2p nodes. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Multiaddr } from '@multiformats/multiaddr';
import { type CloseReason, describeClose } from '../close-reason.ts';
import type { Connection } from '../connection.ts';
import { pause, startDeadline } from '../deadline.ts';
import { messageOf } from '../errors.ts';
import { isCircuit } from '../multiaddr.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { PING, PING_SIZE, ping as pingOnce } from '../protocols/ping.ts';
import type { Stream } from '../stream.ts';
import { parseDialAddress } from './addresses.ts';
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
 * Dials all `addresses`, pings over the first connection and prints what ping(8) prints. Resolves with the exit code: 0
 * when a ping was answered and the connection did not fail, else 1.
 *
 * @throws ERR_CONFIG when an address is malformed; what dialling throws.
 */
export const ping = async (addresses: readonly string[], flags: PingFlags): Promise<number> => {
  const given = addresses.map(parseDialAddress);
  const signal = onTermination(EXIT.failed);
  const say = flags.json ? sayJson : sayText;
  const node = await createNode({ transports: transportsOf(flags) });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  try {
    // Not counted as time of the dial.
    await node.prepare({ addresses: given });
    if (given.some(isCircuit)) await listenForPunches(node);
    const start = performance.now();
    const connection = await dial(node, given, flags, signal);
    const connectMs = performance.now() - start;
    const address = `${connection.remoteAddress}/p2p/${connection.remotePeer}`;
    const { description } = connection;
    await say({ event: 'connected', address, description, raced: given.length, connectMs });
    const sent = await pingUntil(followDirect(node, connection, say), flags, signal, say);
    const relayed = statistics(sent.relayedRtts);
    const total = statistics(sent.rtts);
    await say({ event: 'summary', address, ...sent, ...total, ...(relayed && { relayed }) });
    if (sent.failure !== undefined) note(`libp2p-lean: ${sent.failure}`);
    return answersOf(sent) > 0 && sent.failure === undefined ? EXIT.ok : EXIT.failed;
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

/** Makes a hole punch possible, which needs a listening socket: without one the connection stays relayed. */
const listenForPunches = async (node: LeanNode): Promise<void> => {
  const addresses = ['/ip4/0.0.0.0/udp/0/quic-v1', '/ip4/0.0.0.0/tcp/0'];
  const results = await Promise.allSettled(addresses.map((address) => node.listen(address)));
  for (const result of results) {
    if (result.status === 'rejected') note(`no hole punch over it: ${messageOf(result.reason)}`);
  }
};

/** The connection to ping over: the direct one once it has replaced the one through a relay. */
interface Followed {
  connection: Connection;
  /** Whether it has ever gone through a relay. */
  readonly wasRelayed: boolean;
}

const followDirect = (node: LeanNode, first: Connection, say: Say): Followed => {
  const followed: Followed = { connection: first, wasRelayed: first.circuit !== undefined };
  node.addEventListener('connection:direct', ({ detail: { connection, relayed, afterMs } }) => {
    if (relayed !== first) return;
    followed.connection = connection;
    const address = `${connection.remoteAddress}/p2p/${connection.remotePeer}`;
    const { description } = connection;
    say({ event: 'direct', address, description, afterMs }).catch(() => {});
  });
  return followed;
};

interface Sent {
  readonly sent: number;
  /** Milliseconds, in the order of the answers. If the connection became direct, only those of the direct one. */
  readonly rtts: readonly number[];
  /** Milliseconds, of the pings through a relay before that. */
  readonly relayedRtts: readonly number[];
  readonly timeMs: number;
  /** Why pinging ended early. */
  readonly failure: string | undefined;
}

/** Pings one after the other, until the count is reached, `signal` fires or the connection ends. */
const pingUntil = async (
  followed: Followed,
  flags: PingFlags,
  signal: AbortSignal,
  say: Say,
): Promise<Sent> => {
  const stop = new AbortController();
  let closed: CloseReason | undefined;
  const watch = (connection: Connection): Connection => {
    connection.closed.then((reason) => {
      if (followed.connection !== connection) return;
      closed = reason;
      stop.abort();
    });
    return connection;
  };
  let connection = watch(followed.connection);
  const either = AbortSignal.any([signal, stop.signal]);
  const start = performance.now();
  const rtts: number[] = [];
  const relayedRtts: number[] = [];
  const count = flags.count ?? Number.POSITIVE_INFINITY;
  let stream: Stream | undefined;
  let failure: string | undefined;
  let seq = 0;
  while (seq < count && !either.aborted) {
    seq++;
    const next = performance.now() + flags.interval * 1000;
    if (followed.connection !== connection) {
      connection = watch(followed.connection);
      stream?.closeWrite();
      stream = undefined;
    }
    const relayed = connection.circuit !== undefined;
    try {
      const limits = { signal: either, timeout: flags.timeout * 1000 };
      const open = stream ?? (await connection.newStream(PING, limits));
      stream = open;
      const rttMs = await pingOnce(open, limits);
      (relayed ? relayedRtts : rtts).push(rttMs);
      const via = followed.wasRelayed ? { relayed } : {};
      await say({ event: 'answer', peer: connection.remotePeer.toString(), seq, rttMs, ...via });
    } catch (error) {
      if (signal.aborted) seq--; // interrupted: it was neither answered nor lost
      if (either.aborted) break;
      await say({ event: 'lost', seq, error: messageOf(error) });
      stream?.reset();
      stream = undefined;
    }
    const left = next - performance.now();
    if (seq < count) await (left > 0 ? pause(left, either) : nextTurn());
  }
  stream?.closeWrite();
  if (closed !== undefined && !signal.aborted) failure = describeClose(closed);
  const timeMs = performance.now() - start;
  if (rtts.length > 0) return { sent: seq, rtts, relayedRtts, timeMs, failure };
  // The connection never became direct.
  return { sent: seq, rtts: relayedRtts, relayedRtts: [], timeMs, failure };
};

interface Statistics {
  readonly minMs: number;
  readonly avgMs: number;
  readonly maxMs: number;
  /** Standard deviation, as ping(8) has it. */
  readonly mdevMs: number;
}

/** `undefined` when `rtts` is empty. */
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
  | { event: 'direct'; address: string; description: string; afterMs: number }
  | { event: 'answer'; peer: string; seq: number; rttMs: number; relayed?: boolean }
  | { event: 'lost'; seq: number; error: string }
  | ({ event: 'summary'; address: string; relayed?: Statistics } & Sent & Partial<Statistics>);

type Say = (line: Line) => Promise<void>;

const sayText: Say = (line) => print(`${textOf(line)}\n`);

const textOf = (line: Line): string => {
  switch (line.event) {
    case 'connected': {
      const won = line.raced > 1 ? `, first of ${line.raced} addresses` : '';
      const how = `${line.description}, connected in ${line.connectMs.toFixed(3)} ms${won}`;
      return `PING ${line.address}: ${how}`;
    }
    case 'direct':
      return `DIRECT ${line.address}: ${line.description}, ${line.afterMs.toFixed(0)} ms after the relayed connection`;
    case 'answer': {
      const how = line.relayed === undefined ? '' : line.relayed ? ' relayed' : ' direct';
      const time = `time=${line.rttMs.toFixed(3)} ms${how}`;
      return `${PING_SIZE} bytes from ${line.peer}: seq=${line.seq} ${time}`;
    }
    case 'lost':
      return `no answer: seq=${line.seq} (${line.error})`;
    case 'summary': {
      const title = `\n--- ${line.address} ping statistics ---\n`;
      const time = `time ${line.timeMs.toFixed(0)} ms`;
      const totals = `${line.sent} sent, ${answersOf(line)} answered, ${lossOf(line)}% loss, ${time}`;
      const before = line.relayed === undefined ? '' : `\nrelayed ${rttLine(line.relayed)}`;
      if (line.minMs === undefined) return title + totals;
      const after = line.relayed === undefined ? '' : 'direct ';
      return `${title}${totals}${before}\n${after}${rttLine(line)}`;
    }
  }
};

const rttLine = ({ minMs, avgMs, maxMs, mdevMs }: Partial<Statistics>): string => {
  const numbers = [minMs, avgMs, maxMs, mdevMs].map((value) => value?.toFixed(3));
  return `rtt min/avg/max/mdev = ${numbers.join('/')} ms`;
};

const sayJson: Say = (line) => print(`${JSON.stringify(jsonOf(line))}\n`);

const jsonOf = (line: Line): object => {
  if (line.event !== 'summary') return line;
  const { rtts: _, relayedRtts: __, failure, ...rest } = line;
  return {
    ...rest,
    answered: answersOf(line),
    lossPercent: lossOf(line),
    ...(failure && { failure }),
  };
};

const answersOf = ({ rtts, relayedRtts }: Sent): number => rtts.length + relayedRtts.length;

const lossOf = (sent: Sent): number =>
  sent.sent === 0 ? 0 : Math.round((100 * (sent.sent - answersOf(sent))) / sent.sent);
