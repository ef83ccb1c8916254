/**
 * How long the datagrams of a connection may be: as long as every path carries, until one that was
 * longer has been acknowledged (RFC 9000 section 14.3, RFC 8899). quiche 0.18 makes no probes and does
 * not tell what was acknowledged, so a datagram full of data is the probe, and its fate is known when
 * more than a congestion window has been sent after it: of that something was acknowledged, and quiche
 * counts as lost what was not by then.
 */

/** The IPv6 minimum MTU of 1280 bytes less the headers of IPv6 and UDP. */
export const BASE_DATAGRAM = 1232;
/** What a path of Ethernets carries: an MTU of 1500 bytes, less the same. */
export const MAX_DATAGRAM = 1452;
/**
 * What loopback interfaces carry: 16 KiB on macOS and the BSDs, and more elsewhere. A datagram costs
 * much the same whatever its length. But behind a loopback address there may be a proxy.
 */
export const MAX_LOOPBACK_DATAGRAM = 16_384 - 48;
/** More packets than quiche must see acknowledged before it declares an earlier one lost. */
const REORDERING = 10;

/** quiche's counters of a connection; bytes. */
export interface SentBytes {
  readonly sent: number;
  readonly lost: number;
  /** The congestion window now. */
  readonly window: number;
}

export interface DatagramSize {
  /** Room for the next datagram; bytes. @param bulk whether there is more than enough to fill it. */
  room(bulk: boolean): number;
  /** A datagram was sent. @param count reads the counters; called only while a probe is pending. */
  onSent(length: number, count: () => SentBytes): void;
  /** Nothing is received any more: the path may have changed. */
  onSilence(): void;
}

/** @param largest the size to probe for; bytes. */
export const datagramSize = (largest: number): DatagramSize => {
  let size = Math.min(BASE_DATAGRAM, largest);
  let probe: { sent: number; lost: number; window: number; length: number } | undefined;
  /** Bytes still to be sent before the next probe, and before the one after that if it is lost. */
  let wait = 0;
  let nextWait = 64 * 1024;
  let unchecked = 0;

  return {
    room: (bulk) => (bulk && probe === undefined && wait <= 0 ? largest : size),

    onSent: (length, count) => {
      if (size === largest) return;
      wait -= length;
      if (probe === undefined) {
        if (length > size) probe = { ...count(), length };
        return;
      }
      if (++unchecked < REORDERING) return;
      unchecked = 0;
      const now = count();
      probe.window = Math.max(probe.window, now.window);
      if (now.lost - probe.lost >= probe.length) {
        // Or others of the same size in all: a later probe will tell.
        wait = nextWait;
        nextWait *= 2;
        probe = undefined;
      } else if (now.sent - probe.sent > probe.window + REORDERING * largest) {
        size = largest;
        probe = undefined;
      }
    },

    onSilence: () => {
      if (size < largest && probe === undefined) return;
      size = Math.min(BASE_DATAGRAM, largest);
      probe = undefined;
      wait = nextWait;
      nextWait *= 2;
    },
  };
};
