/**
 * One stream's throughput over loopback between two processes of the same stack, in both directions:
 * each engine of ours beside js-libp2p 3 with `@chainsafe/libp2p-quic`. The protocol is
 * `/perf/1.0.0`; a transfer lasts until its last byte has been read and the stream is over.
 */

import path from 'node:path';
import { JS_LIBP2P, nodeQuic, nodeQuicFlags, ROOT } from './support/participants.ts';
import { type Command, end, lines, start } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, ratio, spread } from './support/statistics.ts';
import type { Transfer, Transfers } from './support/transfers.ts';

const GIB = 2 ** 30;
const BYTES = GIB / 4;

interface Contestant extends Command {
  readonly name: string;
}

const contestants = (): Contestant[] => {
  const ours = path.join(ROOT, 'bench/quic-perf.ts');
  const quic = nodeQuic();
  return [
    { name: 'libp2p-lean, quiche', file: process.execPath, args: [ours, 'quiche'] },
    ...(quic === undefined
      ? []
      : [{ name: 'libp2p-lean, node:quic', file: quic, args: [...nodeQuicFlags(), ours, 'node'] }]),
    {
      name: JS_LIBP2P.name,
      file: process.execPath,
      args: [path.join(ROOT, 'bench/js-libp2p-perf.mjs')],
    },
  ];
};

const transfer = async ({ file, args }: Contestant): Promise<Transfers> => {
  const listener: Command = { file, args: [...args, 'listen'] };
  const listening = start(listener);
  const address = await lines(listening, listener)();
  const dialer: Command = {
    file,
    args: [...args, 'dial', address, String(listening.pid), String(BYTES)],
  };
  const dialing = start(dialer);
  const report = JSON.parse(await lines(dialing, dialer)()) as Transfers;
  await Promise.all([end(dialing), end(listening)]);
  return report;
};

export const quicThroughput = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const all = contestants();
  const options = { rounds, warmUp: 0, what: 'throughput' };
  const measured = await interleave(all, options, transfer);
  const js = all.at(-1);
  const column = (
    contestant: Contestant | undefined,
    direction: keyof Transfers,
    of: (transfer: Transfer) => number,
  ): number[] =>
    contestant === undefined
      ? []
      : (measured.get(contestant) ?? []).map((report) => of(report[direction]));
  const rate = ({ seconds }: Transfer): number => (BYTES * 8) / seconds / 1e9;
  const cpu = (side: 'dialerCpu' | 'listenerCpu') => (it: Transfer) => (it[side] * GIB) / BYTES;

  return {
    id: 'quic-throughput',
    rows: [
      [
        'stack',
        'direction',
        'Gbit/s',
        'of js-libp2p',
        'dialer, CPU s/GiB',
        'listener, CPU s/GiB',
        'both, of js-libp2p',
      ],
      ...(['upload', 'download'] as const).flatMap((direction) =>
        all.map((contestant) => {
          const rates = column(contestant, direction, rate);
          const dialer = column(contestant, direction, cpu('dialerCpu'));
          const listener = column(contestant, direction, cpu('listenerCpu'));
          const both = (it: Transfer): number => it.dialerCpu + it.listenerCpu;
          return [
            contestant.name,
            direction,
            shown(spread(rates), 2),
            shownRatio(ratio(rates, column(js, direction, rate))),
            shown(spread(dialer)),
            shown(spread(listener)),
            shownRatio(ratio(column(contestant, direction, both), column(js, direction, both))),
          ];
        }),
      ),
    ],
    note: `Median and quartiles of ${rounds} pairs of cold processes each, interleaved; ${BYTES / 2 ** 20} MiB a transfer, after a quarter of that in each direction. ${conditions()}`,
  };
};
