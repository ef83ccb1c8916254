/**
 * How much of a connection's data `node:quic` is given ahead of the peer's acknowledgements.
 *
 * `node:quic` (24.21) makes up to 54 packets at a time. When it does so because a packet came in, it hands
 * them to libuv's `uv_udp_try_send2` (1.53), which sends 20, skips 20, and goes on with the 41st (libuv
 * pull request 5245); node:quic then sends the last 20 once more. So of 54 packets 14 are lost and 14 arrive
 * twice, and ngtcp2 shrinks its congestion window to a few dozen packets. Up to 40 packets are sent correctly, and packets
 * that our own writes cause are sent differently. So nothing is lost if, when a packet comes in, at most 40 packets are waiting
 * that did not leave with a write, which takes 54: 94 packets in all.
 * On paths with a round trip of milliseconds the congestion window and pacing keep what is waiting
 * from leaving at once, so the budget grows with the round trip.
 */

import { RUNTIME } from '../../runtime.ts';
import type { NodeQuicSession, NodeQuicStream } from './types.ts';

/** Bytes for each millisecond of round trip, and for less than one: 94 packets less their overhead. */
const PER_MILLISECOND = 104 * 1024;
/** All streams together; bytes. */
const MOST = 4 << 20;
/** One stream; bytes. */
const LEAST = 32 * 1024;

/** What a stream starts with; bytes. */
export const FIRST_BUDGET = RUNTIME.quicLosesPackets ? PER_MILLISECOND : 1 << 20;

type Budgeted = Pick<NodeQuicStream, 'budget' | 'highWaterMark'>;

/** Shares the budget of a connection among the streams that have more to send. */
export interface WriteBudget {
  /** Gives `stream`, which has more to send, its share: at most `most` bytes, but never below {@link LEAST}. */
  share(stream: Budgeted, most: number): void;
  /** `stream` waits for room. */
  full(stream: Budgeted): void;
  /** It waits no longer. */
  drained(stream: Budgeted): void;
}

/** For runtimes without that bug: streams keep what they start with. */
export const fixedBudget: WriteBudget = {
  share() {},
  full() {},
  drained() {},
};

export const writeBudget = (stats: NodeQuicSession['stats']): WriteBudget => {
  const waiting = new Set<Budgeted>();
  return {
    share(stream, most) {
      // The shortest so far: queues that we fill ourselves do not make the path longer.
      const milliseconds = Number(stats.minRtt) / 1e6;
      const budget = Math.min(MOST, PER_MILLISECOND * Math.max(1, milliseconds));
      const streams = waiting.has(stream) ? waiting.size : waiting.size + 1;
      const share = Math.max(LEAST, Math.min(most, Math.floor(budget / streams)));
      if (stream.budget === share) return;
      stream.budget = share;
      stream.highWaterMark = share;
    },
    full: (stream) => void waiting.add(stream),
    drained: (stream) => void waiting.delete(stream),
  };
};
