/**
 * When a stream's FIN may be handed to `node:quic`.
 *
 * `node:quic` (24.21) hands a FIN to ngtcp2 separately, after the data, and drops it for good if
 * ngtcp2 makes a packet without it: an acknowledgement while pacing or the congestion window holds
 * everything else back, or a packet with too little space left. The peer then waits for the end of the
 * stream forever; with four concurrent requests that affects one FIN in a few hundred. No later call
 * can send it, so a FIN is handed over only when it can be sent at once: no stream has unsent data, the
 * congestion window has room, and the pacing interval after the latest packet is over. After packet
 * loss, ngtcp2 sends retransmissions first, which are not visible here, so a FIN then waits until
 * nothing has been in flight for a while. If other streams keep the connection busy, their writes are
 * held back for it.
 *
 * A FIN that is handed over together with its data is in the same packet, if the data fits into one
 * packet and no other stream comes in between.
 */

import type { NodeQuicSession } from './types.ts';

/** What the gate needs of a stream. */
export interface FinStream {
  /** Whether all its data is in packets, or it needs no FIN any more. */
  readonly allSent: boolean;
  /** Hands the FIN over, if it is still wanted. */
  sendFin(): void;
}

export interface FinGate {
  /** While true, no stream may hand data over; `resume` is called when that ends. */
  readonly paused: boolean;
  /** Whether a FIN may be handed over with its data, which fit into one packet. */
  readonly takesWhole: boolean;
  /** `stream` was handed over that way: nothing may come in between. */
  wroteWhole(stream: FinStream): void;
  /** Calls `stream.sendFin()` once, now or later. */
  schedule(stream: FinStream): void;
  /** `stream` has handed data over. */
  wrote(stream: FinStream): void;
  /** Forgets everything. */
  stop(): void;
}

/** Free bytes of the congestion window that let a packet leave. */
const ROOM = 4096n;
/** What ngtcp2 assumes before its first sample (RFC 9002 section 6.2.2); nanoseconds. */
const INITIAL_RTT = 333_000_000n;
/** Added to the computed pacing interval; milliseconds. */
const SLACK = 0.01;
/** How long a FIN waits before other streams' writes are held back; milliseconds. */
const PATIENCE = 5;
/** Polling interval for streams with unsent data; milliseconds. */
const UNSENT_POLL = 2;
/** For how long after a loss there may be retransmissions; milliseconds. */
const LOSS_MEMORY = 500;
/** How long nothing must have been in flight before a FIN then; milliseconds. */
const QUIET = 3;
/** After so long without a packet, what is unsent waits for the peer's window, not for us; milliseconds. */
const IDLE = 100;
/** Both last at least so many round trips. */
const ROUND_TRIPS = 3;
/**
 * After this the FIN is handed over in any case, and may be lost; milliseconds. On a slow path with packet loss a
 * FIN waits some seconds: after 2 s, one in eight was lost there.
 */
const GIVE_UP = 10_000;

/** For runtimes without that bug. */
export const openGate: FinGate = {
  paused: false,
  takesWhole: false,
  wroteWhole() {},
  schedule: (stream) => stream.sendFin(),
  wrote() {},
  stop() {},
};

/** A monotonic clock, in milliseconds, and a timer. */
export interface Clock {
  readonly now: () => number;
  /** Calls `run` after so many milliseconds, 0: in the next turn of the event loop. @returns what prevents it. */
  readonly after: (milliseconds: number, run: () => void) => () => void;
}

const systemClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    if (milliseconds === 0) {
      const immediate = setImmediate(run);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(run, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** `resume` is called when a pause ends. */
export const finGate = (
  stats: NodeQuicSession['stats'],
  resume: () => void,
  clock: Clock = systemClock,
): FinGate => {
  let waiting: { readonly stream: FinStream; readonly since: number }[] = [];
  let unsent = new Set<FinStream>();
  /** Streams with a FIN wait too long. */
  let paused = false;
  /** Data with their FIN that have not left yet. */
  let whole: { readonly stream: FinStream; readonly since: number } | undefined;
  let cancel: (() => void) | undefined;
  // Pacing: when the latest packets left, and how long nothing may follow them; milliseconds.
  let sentTotal = stats.bytesSent;
  let sentAt = 0;
  let interval = 0;
  let window = stats.cwnd;
  let rtt = 1;
  let lost = stats.pktLost;
  let lostAt = Number.NEGATIVE_INFINITY;
  /** When something was last seen in flight. */
  let busyAt = 0;

  const noteSent = (): void => {
    if (stats.pktLost !== lost) {
      lost = stats.pktLost;
      lostAt = clock.now();
    }
    if (stats.bytesInFlight > 0n) busyAt = clock.now();
    const total = stats.bytesSent;
    if (total === sentTotal) return;
    const now = clock.now();
    // ngtcp2 spreads a congestion window over 0.8 round trips (RFC 9002 section 7.7), and keeps
    // that pace, whatever the round trip becomes, for as long as the window stays what it is.
    const latest = stats.smoothedRtt === INITIAL_RTT ? 1 : Number(stats.smoothedRtt) / 1e6;
    rtt = stats.cwnd === window ? Math.max(rtt, latest) : latest;
    window = stats.cwnd;
    const left = Math.max(0, sentAt + interval - now);
    interval = left + (Number(total - sentTotal) * rtt * 0.8) / Number(window);
    sentTotal = total;
    sentAt = now;
  };

  const forgetSent = (): void => {
    for (const stream of unsent) if (stream.allSent) unsent.delete(stream);
  };

  const leavesAtOnce = (): boolean => {
    noteSent();
    const now = clock.now();
    if (whole !== undefined || now < sentAt + interval + SLACK) return false;
    const { bytesInFlight, cwnd } = stats;
    const room = ROOM < cwnd / 2n ? ROOM : cwnd / 2n;
    if (bytesInFlight > 0n && bytesInFlight + room > cwnd) return false;
    if (now - sentAt > Math.max(IDLE, ROUND_TRIPS * rtt)) return true;
    forgetSent();
    if (unsent.size > 0) return false;
    // What was lost is repeated by the time that nothing has been on its way for a while.
    if (now > lostAt + LOSS_MEMORY) return true;
    return now - Math.max(busyAt, lostAt) > Math.max(QUIET, ROUND_TRIPS * rtt);
  };

  const look = (): void => {
    cancel = undefined;
    const now = clock.now();
    const held = paused || whole !== undefined;
    if (whole !== undefined && (whole.stream.allSent || now - whole.since > IDLE))
      whole = undefined;
    waiting = waiting.filter(({ stream, since }) => {
      if (!stream.allSent) return true;
      if (!leavesAtOnce() && now - since < GIVE_UP) return true;
      stream.sendFin();
      return false;
    });
    const ready = waiting.filter(({ stream }) => stream.allSent);
    paused = ready.some(({ since }) => now - since > PATIENCE);
    if (waiting.length > 0 || whole !== undefined) lookAgain(ready.length > 0);
    if (held && !paused && whole === undefined) resume();
  };

  const lookAgain = (ready: boolean): void => {
    if (cancel !== undefined) return;
    const due = sentAt + interval + SLACK - clock.now();
    const full = unsent.size > 0 || stats.bytesInFlight + ROOM > stats.cwnd;
    const lossy = clock.now() < lostAt + LOSS_MEMORY;
    const wait = ready && !full && !lossy && due < 1 ? 0 : ready ? 1 : UNSENT_POLL;
    cancel = clock.after(wait, look);
  };

  return {
    get paused() {
      return paused || (whole !== undefined && !whole.stream.allSent);
    },
    get takesWhole() {
      noteSent();
      forgetSent();
      return unsent.size === 0 && clock.now() > lostAt + LOSS_MEMORY;
    },
    wroteWhole(stream) {
      noteSent();
      if (stream.allSent) return;
      whole = { stream, since: clock.now() };
      lookAgain(false);
    },
    schedule(stream) {
      waiting.push({ stream, since: clock.now() });
      if (cancel === undefined) look();
    },
    wrote(stream) {
      noteSent();
      if (!stream.allSent) unsent.add(stream);
    },
    stop() {
      cancel?.();
      cancel = undefined;
      waiting = [];
      whole = undefined;
      unsent = new Set();
      paused = false;
    },
  };
};
