/**
 * Every combination over TCP and WebSocket, ours beside js-libp2p's own: `handshake_plus_one_rtt` and
 * the throughput of one stream, every dialer a new process, against the same listener processes.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ROOT } from './support/participants.ts';
import { type Command, end, lines, run, start } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, ratio, spread } from './support/statistics.ts';
import type { TcpReport } from './tcp-peer.ts';

const BYTES = 64 * 2 ** 20;
const COMBINATIONS = ['tcp', 'ws', 'wss'].flatMap((kind) =>
  ['noise', 'tls'].flatMap((secure) =>
    ['yamux', 'mplex'].map((muxer) => [kind, secure, muxer] as const),
  ),
);

interface Contestant extends Command {
  readonly name: string;
}

/** A process of `stack`, as `name` says; both stacks' compile caches fill in the warm-up round. */
const contestant = (stack: 'ours' | 'js', name: string, cache: string): Contestant => ({
  name: `${stack} ${name}`,
  file: process.execPath,
  args: [path.join(ROOT, 'bench/tcp-peer.ts'), stack, ...name.split('/')],
  env: {
    NODE_COMPILE_CACHE: path.join(cache, stack),
    // js-libp2p dials wss with the global WebSocket, which takes self-signed certificates only so.
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    NODE_NO_WARNINGS: '1',
  },
});

export const tcp = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const cache = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-bench-tcp-'));
  process.once('exit', () => rmSync(cache, { recursive: true, force: true }));
  const pairs = COMBINATIONS.map((combination) => {
    const name = combination.join('/');
    return { name, ours: contestant('ours', name, cache), js: contestant('js', name, cache) };
  });
  const all = pairs.flatMap(({ ours, js }) => [ours, js]);

  const listening = new Map<Contestant, { child: ReturnType<typeof start>; address: string }>();
  for (const it of all) {
    const listener = { ...it, args: [...it.args, 'listen'] };
    const child = start(listener);
    listening.set(it, { child, address: await lines(child, listener)() });
  }
  const measure = async (it: Contestant): Promise<TcpReport> => {
    const address = listening.get(it)?.address ?? '';
    const { stdout } = await run({ ...it, args: [...it.args, 'dial', address, String(BYTES)] });
    return JSON.parse(stdout) as TcpReport;
  };
  const measured = await interleave(all, { rounds, what: 'tcp' }, measure);
  for (const { child } of listening.values()) await end(child);

  const column = (it: Contestant, of: (report: TcpReport) => number): number[] =>
    (measured.get(it) ?? []).map(of);
  const rate = ({ upload }: TcpReport): number => (BYTES * 8) / upload / 1e9;
  const values = [
    [({ first }: TcpReport) => first, 1],
    [({ later }: TcpReport) => later, 1],
    [rate, 2],
  ] as const;
  return {
    id: 'tcp',
    rows: [
      [
        'combination',
        'handshake_plus_one_rtt, ms',
        'js-libp2p, ms',
        'of js-libp2p',
        'later ones, ms',
        'js-libp2p, ms',
        'of js-libp2p',
        'Gbit/s',
        'js-libp2p, Gbit/s',
        'of js-libp2p',
      ],
      ...pairs.map(({ name, ours, js }) => [
        name,
        ...values.flatMap(([of, digits]) => {
          const [here, there] = [column(ours, of), column(js, of)];
          return [
            shown(spread(here), digits),
            shown(spread(there), digits),
            shownRatio(ratio(here, there)),
          ];
        }),
      ]),
    ],
    note: `Median and quartiles of ${rounds} cold dialers per stack, interleaved: the first dial of each, the median of its next ten, and an upload of ${BYTES / 2 ** 20} MiB after one of a quarter of that. ${conditions()}`,
  };
};
