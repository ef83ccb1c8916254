/**
 * Network conditions of the matrix. Names and meaning are those of quic-interop-runner
 * (testcases_quic.py there) where it has them; the others are marked. A link is 15 ms long, as there:
 * a round trip without processing is 30 ms. Its 10 Mbit/s and its queue of 25 packets are left out,
 * because which packet a full queue drops depends on time, and here the seed alone decides.
 */

/** The share of the packets of each direction that is affected. */
export interface Chance {
  /** 0..1 */
  readonly rate: number;
  /** At most so many packets in a row. */
  readonly burst: number;
}

export interface Condition {
  readonly name: string;
  readonly summary: string;
  /** One way; milliseconds. */
  readonly delay: number;
  /** Longest IP packet, in bytes; longer ones are dropped silently. */
  readonly mtu: number;
  readonly loss?: Chance;
  /** One byte of the packet is changed. */
  readonly corruption?: Chance;
  /** The packet comes twice. */
  readonly duplication?: Chance;
  /** The packet comes `by` milliseconds later than it should, after those that were sent after it. */
  readonly reordering?: Chance & { readonly by: number };
  /** From the dialer's `from`-th packet on (1-based) nothing passes in either direction, for `for` milliseconds. */
  readonly blackhole?: { readonly from: number; readonly for: number };
  /** The dialer's first QUIC packet with a short header, and all after it, come from another port or address. */
  readonly rebind?: 'port' | 'address';
  /** Packets of the dialer that are lost, by their number (1-based). */
  readonly lost?: readonly number[];
  /** Connections that are made one after the other in each run; all must succeed. */
  readonly connections: number;
  /** The transports it applies to: some conditions only make sense for QUIC. */
  readonly carriers: readonly Carrier[];
}

export type Carrier = 'udp' | 'tcp';

const BOTH: readonly Carrier[] = ['udp', 'tcp'];
const LINK = { delay: 15, mtu: 1500, connections: 1, carriers: BOTH } as const;
/** For handshakeloss and multiconnect. */
const EXTREME = { rate: 0.3, burst: 3 } as const;
const UNBOUNDED = Number.POSITIVE_INFINITY;

export const CONDITIONS: readonly Condition[] = [
  { ...LINK, name: 'clean', summary: '15 ms each way, nothing else' },
  { ...LINK, name: 'longrtt', summary: '750 ms each way', delay: 750 },
  {
    ...LINK,
    name: 'loss5',
    summary: '5 % loss each way, 100 ms each way (200 ms round trip)',
    delay: 100,
    loss: { rate: 0.05, burst: UNBOUNDED },
  },
  {
    ...LINK,
    name: 'loss20',
    summary: '20 % loss each way',
    loss: { rate: 0.2, burst: UNBOUNDED },
  },
  {
    ...LINK,
    name: 'handshakeloss',
    summary: '30 % loss each way, at most 3 in a row',
    loss: EXTREME,
  },
  {
    ...LINK,
    name: 'handshakecorruption',
    summary: 'a byte of 30 % of the packets is changed each way, at most 3 in a row',
    corruption: EXTREME,
  },
  {
    ...LINK,
    name: 'multiconnect',
    summary: 'handshakeloss, five connections one after the other',
    loss: EXTREME,
    connections: 5,
  },
  {
    ...LINK,
    name: 'reordering',
    summary: '30 % of the packets come 20 ms late',
    reordering: { rate: 0.3, burst: UNBOUNDED, by: 20 },
  },
  {
    ...LINK,
    name: 'duplication',
    summary: '30 % of the packets come twice',
    duplication: { rate: 0.3, burst: UNBOUNDED },
  },
  {
    ...LINK,
    name: 'blackhole',
    summary: 'nothing passes for 2 s from the dialer’s second packet on',
    blackhole: { from: 2, for: 2_000 },
  },
  { ...LINK, name: 'mtu1280', summary: 'IP packets above 1280 bytes vanish', mtu: 1280 },
  {
    ...LINK,
    name: 'rebind-port',
    summary: 'the dialer’s port changes as soon as its handshake is over',
    rebind: 'port',
    carriers: ['udp'],
  },
  {
    ...LINK,
    name: 'rebind-addr',
    summary: 'the dialer’s address and port change as soon as its handshake is over',
    rebind: 'address',
    carriers: ['udp'],
  },
  {
    ...LINK,
    name: 'amplificationlimit',
    summary: 'the dialer’s packets 2 to 7 are lost',
    lost: [2, 3, 4, 5, 6, 7],
    carriers: ['udp'],
  },
];

/** A link with given delay and loss, for measurements. */
export const plainLink = (delay: number, loss: number): Condition => ({
  ...LINK,
  name: `${delay} ms, ${loss * 100} % loss`,
  summary: '',
  delay,
  ...(loss > 0 ? { loss: { rate: loss, burst: UNBOUNDED } } : {}),
});
