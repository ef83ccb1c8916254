/**
 * How much of a connection's data `node:quic` is given ahead of the peer's acknowledgements.
 *
 * When `node:quic` (24.21) has more than some 128 packets to send at once, one in twenty comes to
 * nothing. Between two of them no datagram is lost, but the receiver counts as many in `pktDiscarded`;
 * with go-libp2p and rust-libp2p as receivers the sender counts as many lost. Why is not known. ngtcp2
 * shrinks the congestion window to a few dozen packets for it.
 * On paths with a round trip of milliseconds it paces itself and needs no such care, so the budget
 * grows with the round trip.
 */

import { type NodeQuicSession, type NodeQuicStream, ON_BUN } from './node-quic-types.ts';

/** Bytes for each millisecond of round trip, and for less than one: 95 packets of 1200 bytes. */
const PER_MILLISECOND = 112 * 1024;
/** All streams together; bytes. */
const MOST = 4 << 20;
/** One stream; bytes. */
const LEAST = 32 * 1024;

/** What a stream starts with; bytes. */
export const FIRST_BUDGET = ON_BUN ? 1 << 20 : PER_MILLISECOND;

type Budgeted = Pick<NodeQuicStream, 'budget' | 'highWaterMark'>;

/** Shares the budget of a connection among the streams that have more to send. */
export interface WriteBudget {
  /** Gives `stream`, which has more to send, its share. */
  share(stream: Budgeted): void;
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
    share(stream) {
      // The least there was: queues that we fill ourselves make it no longer path.
      const milliseconds = Number(stats.minRtt) / 1e6;
      const budget = Math.min(MOST, PER_MILLISECOND * Math.max(1, milliseconds));
      const streams = waiting.has(stream) ? waiting.size : waiting.size + 1;
      const share = Math.max(LEAST, Math.floor(budget / streams));
      if (stream.budget === share) return;
      stream.budget = share;
      stream.highWaterMark = share;
    },
    full: (stream) => void waiting.add(stream),
    drained: (stream) => void waiting.delete(stream),
  };
};
