/** A clock that moves only when a test advances it. */

import type { Clock } from '../../src/quic/node/fin-gate.ts';

export interface FakeClock extends Clock {
  /** Advances it by so many milliseconds; timers that are due fire in order, each at its time. */
  readonly advance: (milliseconds: number) => void;
  /** The number of pending timers. */
  readonly waiting: () => number;
}

/** A turn of the event loop; milliseconds. */
const TURN = 0.001;

export const fakeClock = (): FakeClock => {
  let now = 1_000;
  let due: { readonly at: number; readonly run: () => void }[] = [];
  return {
    now: () => now,
    after: (milliseconds, run) => {
      const entry = { at: now + Math.max(milliseconds, TURN), run };
      due.push(entry);
      return () => {
        due = due.filter((other) => other !== entry);
      };
    },
    advance: (milliseconds) => {
      const until = now + milliseconds;
      for (;;) {
        const [next] = due.toSorted((a, b) => a.at - b.at);
        if (next === undefined || next.at > until) break;
        due = due.filter((other) => other !== next);
        now = next.at;
        next.run();
      }
      now = until;
    },
    waiting: () => due.length,
  };
};
