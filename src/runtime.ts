/**
 * The abilities and defects of the JavaScript runtime, in one record. Other code checks these, and never the
 * runtime's name.
 */

import { LeanError } from './errors.ts';

export interface Runtime {
  /** For messages: `Node v26.10.0`, `Bun 1.4.0`. */
  readonly name: string;
  /** `node:quic` accepts the self-signed certificates of libp2p's dialers, so it can listen. */
  readonly quicListens: boolean;
  /** `node:quic` keeps counts of bytes, round trips and confirmations in `stats`. */
  readonly quicCounts: boolean;
  /** `node:quic` loses FINs and, of long bursts, packets: quic/node/fin-gate.ts, write-budget.ts. */
  readonly quicLosesPackets: boolean;
  /** `node:quic` has defects that end the process: quic/node/late-write.ts, never-opened.ts. */
  readonly quicEndsProcess: boolean;
  /** `node:quic` reports the end of a stream before the reset, or the end of the connection, that caused it. */
  readonly quicEndsStreamsFirst: boolean;
  /** `node:quic` reports a peer that stopped reading only by a writer without room. */
  readonly quicHidesStops: boolean;
  /** `node:quic` takes an empty list of root certificates. */
  readonly quicTakesNoRoots: boolean;
  /** `node:dgram` says how many packets wait in the socket. */
  readonly udpCountsQueue: boolean;
  /** `node:dgram` allocates an `ArrayBuffer` for each datagram received, and keeps none of them. */
  readonly udpBuffersAreOwned: boolean;
}

const bun = process.versions.bun;

/** For Bun: as of Bun 1.4, which has the API of Node 26.3 over another QUIC stack. */
export const RUNTIME: Runtime = {
  name: bun === undefined ? `Node ${process.version}` : `Bun ${bun}`,
  quicListens: bun === undefined,
  quicCounts: bun === undefined,
  quicLosesPackets: bun === undefined,
  quicEndsProcess: bun === undefined,
  quicEndsStreamsFirst: bun !== undefined,
  quicHidesStops: bun !== undefined,
  quicTakesNoRoots: bun === undefined,
  udpCountsQueue: bun === undefined,
  udpBuffersAreOwned: bun === undefined,
};

/** `engines.node` of package.json. */
const OLDEST_NODE = 22;

/** @throws ERR_UNSUPPORTED on a Node.js that lacks what this package uses. */
export const checkRuntime = (): void => {
  if (bun !== undefined || Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) return;
  const needed = `version ${OLDEST_NODE} or newer is needed`;
  throw new LeanError('ERR_UNSUPPORTED', `${RUNTIME.name} is too old; ${needed}`);
};
