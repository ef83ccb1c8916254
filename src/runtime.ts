/**
 * What the JavaScript runtime can do and what it gets wrong, in one record. The code asks this, and
 * never which runtime it is on.
 */

export interface Runtime {
  /** For messages: `Node v26.10.0`, `Bun 1.4.0`. */
  readonly name: string;
  /** `node:quic` accepts the self-signed certificates of libp2p's dialers, so it can listen. */
  readonly quicListens: boolean;
  /** `node:quic` keeps counts of bytes, round trips and confirmations in `stats`. */
  readonly quicCounts: boolean;
  /** `node:quic` loses FINs and, of long bursts, packets: quic/node/fin-gate.ts, write-budget.ts. */
  readonly quicLosesPackets: boolean;
  /** `node:quic` tells of a stream's end before it tells of the reset or of the connection's end that caused it. */
  readonly quicEndsStreamsFirst: boolean;
  /** `node:quic` tells of a peer that stopped reading by a writer without room, and in no other way. */
  readonly quicHidesStops: boolean;
  /** `node:quic` takes an empty list of root certificates. */
  readonly quicTakesNoRoots: boolean;
  /** `node:dgram` says how many packets wait in the socket. */
  readonly udpCountsQueue: boolean;
  /** `node:dgram` allocates an `ArrayBuffer` for each datagram received, and keeps none of them. */
  readonly udpBuffersAreOwned: boolean;
}

const bun = process.versions.bun;

/** Bun's column is that of Bun 1.4, which has the API of Node 26.3 over another QUIC stack. */
export const RUNTIME: Runtime = {
  name: bun === undefined ? `Node ${process.version}` : `Bun ${bun}`,
  quicListens: bun === undefined,
  quicCounts: bun === undefined,
  quicLosesPackets: bun === undefined,
  quicEndsStreamsFirst: bun !== undefined,
  quicHidesStops: bun !== undefined,
  quicTakesNoRoots: bun === undefined,
  udpCountsQueue: bun === undefined,
  udpBuffersAreOwned: bun === undefined,
};
