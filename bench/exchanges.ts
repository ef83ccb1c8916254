/**
 * Whether memory stays flat over very many short streams: 50,000 exchanges of a byte, each on a new stream,
 * 5,000 on each of ten connections, one after the other, between perf peers of this project.
 *
 *     node bench/exchanges.ts [--count 50000] [--peers quinn,quiche]
 *
 * Prints a table on stdout.
 */

import { createProgram, whole } from '../interop/command-line.ts';
import { leanPeers, type PerfPeer, startDialer, startListener } from './perf-peers.ts';
import { cpuSeconds, residentBytes } from './support/processes.ts';
import { print, startSection } from './support/report.ts';
import { median } from './support/statistics.ts';

const values = createProgram('exchanges', 'Whether memory stays flat over very many short streams.')
  .option('--count <n>', 'exchanges of a byte, each on a new stream', whole(10, 1e9), 50_000)
  .option('--peers <names>', 'only peers whose name contains one of these: quinn,quiche', 'quic')
  .parse()
  .opts<{ count: number; peers: string }>();
const MIB = 2 ** 20;
const PARTS = 10;
const { count } = values;

const measure = async (peer: PerfPeer): Promise<string[][]> => {
  process.stderr.write(`${peer.name}\n`);
  const listener = await startListener(peer, 'quic-v1');
  const dialer = startDialer(peer, listener);
  const pids = [dialer.pid, listener.pid];
  const resident: number[][] = [];
  const times: number[] = [];
  for (let part = 0; part < PARTS; part++) {
    times.push(...(await dialer.ask(`roundtrips ${Math.ceil(count / PARTS)}`)));
    resident.push(pids.map((pid) => residentBytes(pid) / MIB));
  }
  const cpu = pids.map((pid) => cpuSeconds(pid));
  await dialer.end();
  await listener.end();
  return ['dialer', 'listener'].map((name, side) => {
    const samples = resident.map((both) => both[side] ?? Number.NaN);
    const shown = [samples[0], samples[PARTS / 2 - 1], samples.at(-1), Math.max(...samples)];
    return [
      peer.name,
      name,
      ...shown.map((it = Number.NaN) => it.toFixed(0)),
      median(times).toFixed(3),
      (((cpu[side] ?? Number.NaN) * 1e6) / count).toFixed(0),
    ];
  });
};

const conditions = startSection();
const peers = leanPeers().filter(
  ({ name, transports, host }) =>
    transports.includes('quic-v1') &&
    host === undefined &&
    values.peers.split(',').some((part) => name.includes(part)),
);
const rows: string[][] = [];
for (const peer of peers) rows.push(...(await measure(peer)));
const head = [
  'stack',
  'side',
  'MiB at 10 %',
  'at 50 %',
  'at the end',
  'most',
  'median, ms',
  'CPU, µs',
];
print({
  id: 'exchanges',
  rows: [head, ...rows],
  note: `VmRSS during ${count} exchanges of a byte each way; their median, and the CPU time of each side for one, its start included. ${conditions()}`,
});
process.exit(0);
