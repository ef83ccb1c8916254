/**
 * Every combination over TCP and WebSocket, ours beside js-libp2p's own: new connections and the
 * throughput of one stream, every dialer a new process, against the same listener processes. Both are
 * perf peers (interop/perf-peers).
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  jsPeer,
  leanTcpPeer,
  type PerfPeer,
  type RunningListener,
  startDialer,
  startListener,
} from './perf-peers.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, median, ratio, spread } from './support/statistics.ts';

const BYTES = 64 * 2 ** 20;
/** Handshakes after the first one of a process. */
const LATER = 10;
const STACKS = ['tcp', 'ws', 'wss'].flatMap((transport) =>
  ['noise', 'tls'].flatMap((secureChannel) =>
    ['yamux', 'mplex'].map((muxer) => `${transport}/${secureChannel}/${muxer}`),
  ),
);

/** What one dialer process measured. */
interface Sample {
  /** Its first connection with a byte there and back, ms. */
  readonly first: number;
  /** The median of those after it, ms. */
  readonly later: number;
  /** Gbit/s of an upload. */
  readonly rate: number;
}

/** The compile caches, one for each implementation, fill in the warm-up round. */
const peerOf = (peer: PerfPeer, stack: string, caches: string): PerfPeer => ({
  ...peer,
  name: `${peer.name} ${stack}`,
  stack,
  env: { NODE_COMPILE_CACHE: path.join(caches, peer.name), NODE_NO_WARNINGS: '1' },
});

const measure = async (listener: RunningListener): Promise<Sample> => {
  const dialer = startDialer(listener.peer, listener);
  try {
    const [first = Number.NaN] = await dialer.ask('handshakes 1');
    const later = median(await dialer.ask(`handshakes ${LATER}`));
    await dialer.ask(`transfer ${BYTES / 4} 0 1`);
    const [ms = Number.NaN] = await dialer.ask(`transfer ${BYTES} 0 1`);
    return { first, later, rate: (BYTES * 8) / ms / 1e6 };
  } finally {
    await dialer.end();
  }
};

export const tcp = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const caches = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-bench-tcp-'));
  process.once('exit', () => rmSync(caches, { recursive: true, force: true }));
  const listeners = new Map<string, RunningListener>();
  for (const stack of STACKS) {
    for (const peer of [leanTcpPeer, jsPeer]) {
      const named = peerOf(peer, stack, caches);
      listeners.set(named.name, await startListener(named, 'tcp'));
    }
  }
  const candidates = [...listeners].map(([name, listener]) => ({ name, listener }));
  const measured = await interleave(candidates, { rounds, what: 'tcp' }, ({ listener }) =>
    measure(listener),
  );
  for (const listener of listeners.values()) await listener.end();

  const samples = new Map([...measured].map(([{ name }, them]) => [name, them]));
  const column = (peer: PerfPeer, stack: string, key: keyof Sample): number[] =>
    (samples.get(`${peer.name} ${stack}`) ?? []).map((sample) => sample[key]);
  const figures = [
    ['first', 1],
    ['later', 1],
    ['rate', 2],
  ] as const;
  return {
    id: 'tcp',
    rows: [
      [
        'combination',
        'first handshake, ms',
        'js-libp2p, ms',
        'of js-libp2p',
        'later ones, ms',
        'js-libp2p, ms',
        'of js-libp2p',
        'Gbit/s',
        'js-libp2p, Gbit/s',
        'of js-libp2p',
      ],
      ...STACKS.map((stack) => [
        stack,
        ...figures.flatMap(([key, digits]) => {
          const ours = column(leanTcpPeer, stack, key);
          const theirs = column(jsPeer, stack, key);
          return [
            shown(spread(ours), digits),
            shown(spread(theirs), digits),
            shownRatio(ratio(ours, theirs)),
          ];
        }),
      ]),
    ],
    note: `Median and quartiles of ${rounds} cold dialers for each combination and implementation, interleaved: the first handshake of each with a byte there and back, the median of the next ${LATER}, and an upload of ${BYTES / 2 ** 20} MiB after one of a quarter of that. ${conditions()}`,
  };
};
