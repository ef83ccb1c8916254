/**
 * `make bench-perf`: throughput, latency and handshakes of this project and of go-libp2p, rust-libp2p
 * and js-libp2p, over QUIC and over TCP, with each other and with themselves.
 *
 *     node bench/perf.ts [--rounds 7] [--mebibytes 128] [--transport quic-v1,tcp] [--peers <names>]
 *                        [--before <checkout>] [--out results]
 *     node bench/perf.ts --from results/perf.json [--out results]
 *
 * In each round every figure is taken of every pair, one after the other, A B C A B C; a ratio is the
 * median of the rounds' ratios. A figure that fails is reported and not taken again. CPU time and peak
 * memory are the kernel's, of each process, for the time of the transfer.
 *
 * `--peers quiche,go` takes only peers whose name contains one of these. `--before` takes another
 * checkout of this project, with its node_modules, into the same rounds and compares ours with it: before
 * and after in one run.
 *
 * Writes perf.md, perf.html and perf.json into `--out`; a whole run also writes bench/perf.md.
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Option } from 'commander';
import { createProgram, listOf, oneOf, whole } from '../interop/command-line.ts';
import { messageOf } from '../src/errors.ts';
import { perfPage } from './perf-page.ts';
import {
  type PerfPeer,
  perfPeers,
  RAW_SOCKETS,
  type RunningDialer,
  type RunningListener,
  startDialer,
  startListener,
  type Transport,
} from './perf-peers.ts';
import { type Pair, type PerfRun, perfTable, type Sample } from './perf-table.ts';
import { ROOT } from './support/participants.ts';
import { cpuSeconds, forgetPeakBytes, peakBytes } from './support/processes.ts';
import { commandLine, loadAverage, machine, today } from './support/report.ts';
import { median } from './support/statistics.ts';

const TRANSPORTS = ['quic-v1', 'tcp'] as const;
const values = createProgram(
  'perf',
  'Throughput, latency and handshakes: this project beside go-libp2p, rust-libp2p and js-libp2p.',
)
  .option('--rounds <n>', 'how often each figure is taken', whole(1, 1000), 7)
  .option('--mebibytes <n>', 'that a transfer moves', whole(1, 1 << 20), 128)
  .addOption(
    new Option('--transport <names>', 'with commas in between')
      .argParser(listOf(oneOf(TRANSPORTS)))
      .default(TRANSPORTS, TRANSPORTS.join(',')),
  )
  .option('--peers <names>', 'only peers whose name contains one of these: quiche,go', '')
  .option('--before <checkout>', 'another checkout of this project to compare ours with')
  .option('--from <perf.json>', 'measure nothing; show an earlier run')
  .option('--out <folder>', 'where the results go', path.join(ROOT, 'results'))
  .parse()
  .opts<{
    rounds: number;
    mebibytes: number;
    transport: readonly Transport[];
    peers: string;
    before?: string;
    from?: string;
    out: string;
  }>();

const ROUND_TRIPS = 100;
const HANDSHAKES = 100;
const STREAMS = 16;

/** A dialer and the listener it dials, both running. */
interface RunningPair {
  readonly pair: Pair;
  readonly dialer: RunningDialer;
  readonly listener: RunningListener;
}

const measureTransfer = async (
  { dialer, listener }: RunningPair,
  bytes: number,
  command: string,
): Promise<Sample> => {
  const pids = [dialer.pid, listener.pid] as const;
  for (const pid of pids) forgetPeakBytes(pid);
  const before = pids.map(cpuSeconds);
  const [ms = Number.NaN] = await dialer.ask(command);
  const cpu = pids.map((pid, side) => cpuSeconds(pid) - (before[side] ?? 0));
  const perGib = (seconds = Number.NaN): number => (seconds * 2 ** 30) / bytes;
  return {
    value: (bytes * 8) / ms / 1e6,
    cpu: [perGib(cpu[0]), perGib(cpu[1])],
    peak: [peakBytes(pids[0]), peakBytes(pids[1])],
  };
};

const measureTimes = async (running: RunningPair, command: string): Promise<Sample> => ({
  value: median(await running.dialer.ask(command)),
});

type Figure = (running: RunningPair, bytes: number) => Promise<Sample>;

/** One stream each way, sixteen at once, and what does not depend on throughput. */
const FIGURES: Readonly<Record<string, Figure>> = {
  upload: (running, bytes) => measureTransfer(running, bytes, `transfer ${bytes} 0 1`),
  download: (running, bytes) => measureTransfer(running, bytes, `transfer 0 ${bytes} 1`),
  streams: (running, bytes) =>
    measureTransfer(running, bytes, `transfer ${bytes / STREAMS} 0 ${STREAMS}`),
  roundTrip: (running) => measureTimes(running, `roundtrips ${ROUND_TRIPS}`),
  handshake: (running) => measureTimes(running, `handshakes ${HANDSHAKES}`),
};

/** Each with itself, and ours with every other in both roles. */
const pairsOf = (peers: readonly PerfPeer[], transport: Transport): [PerfPeer, PerfPeer][] => {
  const able = peers.filter(({ transports }) => transports.includes(transport));
  const withThemselves = able.map((peer): [PerfPeer, PerfPeer] => [peer, peer]);
  const ours = able.filter(
    (peer) => peer.ours && peer.host === undefined && peer.before === undefined,
  );
  const others = able.filter((peer) => !peer.ours);
  const mixed = ours.flatMap((us) =>
    others.flatMap((other): [PerfPeer, PerfPeer][] => [
      [us, other],
      [other, us],
    ]),
  );
  return [...withThemselves, ...mixed];
};

/** Starts the processes of these pairs; a listener serves every dialer it is paired with. */
const startPairs = async (
  pairs: readonly (readonly [PerfPeer, PerfPeer])[],
  transport: Transport,
): Promise<RunningPair[]> => {
  const listeners = new Map<PerfPeer, RunningListener>();
  const started: RunningPair[] = [];
  for (const [dialing, listening] of pairs) {
    const listener = listeners.get(listening) ?? (await startListener(listening, transport));
    listeners.set(listening, listener);
    const pair: Pair = {
      transport,
      dialer: dialing.name,
      listener: listening.name,
      ours: dialing.ours || listening.ours,
      ...(dialing.before !== undefined && { before: dialing.before }),
    };
    started.push({ pair, dialer: startDialer(dialing, listener), listener });
  }
  return started;
};

const select = (name: string): boolean =>
  values.peers.split(',').some((part) => name.includes(part));

const run = async (): Promise<PerfRun> => {
  const { rounds, transport: transports } = values;
  const bytes = values.mebibytes * 2 ** 20;
  const before = values.before === undefined ? undefined : path.resolve(values.before);
  const peers = perfPeers(select, before);
  const all: RunningPair[] = [];
  for (const transport of transports) {
    all.push(...(await startPairs(pairsOf(peers, transport), transport)));
  }
  for (const peer of RAW_SOCKETS.filter(({ name }) => select(name))) {
    const [transport = 'tcp'] = peer.transports;
    if (transport === 'tcp' && !transports.includes('tcp')) continue;
    all.push(...(await startPairs([[peer, peer]], transport)));
  }
  if (all.length === 0) throw new Error('no peer is left to measure');

  const loadBefore = loadAverage();
  const failures = new Map<RunningPair, Record<string, string>>();
  const samples = new Map<RunningPair, Record<string, Sample[]>>();
  for (let round = -1; round < rounds; round++) {
    const label = round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`;
    for (const [name, measure] of Object.entries(FIGURES)) {
      process.stderr.write(`${label}: ${name}\n`);
      for (const running of all) {
        if (RAW_SOCKETS.includes(running.dialer.peer) && name !== 'upload') continue;
        const failed = failures.get(running) ?? {};
        if (failed[name] !== undefined) continue;
        const sample = await measure(running, bytes).catch((error: unknown) => {
          const why = messageOf(error);
          process.stderr.write(`${why}\n`);
          failures.set(running, { ...failed, [name]: why });
        });
        if (round < 0 || sample === undefined) continue;
        const own = samples.get(running) ?? {};
        own[name] = [...(own[name] ?? []), sample];
        samples.set(running, own);
      }
    }
  }
  for (const { dialer } of all) await dialer.end();
  for (const listener of new Set(all.map((running) => running.listener))) await listener.end();

  return {
    command: commandLine().replace(/node bench\/perf\.ts$/, 'make bench-perf'),
    date: today(),
    machine: machine(),
    load: [loadBefore, loadAverage()],
    rounds,
    bytes,
    counts: { roundTrips: ROUND_TRIPS, handshakes: HANDSHAKES, streams: STREAMS },
    ...(before !== undefined && { before: commitOf(before), after: commitOf(ROOT) }),
    results: all.map((running) => ({
      ...running.pair,
      figures: samples.get(running) ?? {},
      failures: failures.get(running) ?? {},
    })),
  };
};

/** As `git describe` names what is checked out, or the folder where git does not know it. */
const commitOf = (checkout: string): string => {
  try {
    const args = ['-C', checkout, 'describe', '--always', '--dirty'];
    return execFileSync('git', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return checkout;
  }
};

const measured: PerfRun =
  values.from === undefined ? await run() : JSON.parse(readFileSync(values.from, 'utf8'));
const table = perfTable(measured);
process.stdout.write(table);
mkdirSync(values.out, { recursive: true });
writeFileSync(path.join(values.out, 'perf.md'), table);
writeFileSync(path.join(values.out, 'perf.html'), perfPage(measured));
if (values.from === undefined) {
  writeFileSync(path.join(values.out, 'perf.json'), JSON.stringify(measured));
}
// With options it is a trial, or a comparison, and not recorded.
if (measured.command.endsWith('make bench-perf')) {
  writeFileSync(path.join(ROOT, 'bench/perf.md'), table);
}
process.exit(0);
