/**
 * `make bench-perf`: throughput, latency and handshakes of this project and of go-libp2p, rust-libp2p
 * and js-libp2p, over QUIC and over TCP, with each other and with themselves.
 *
 *     node bench/perf.ts [--rounds 7] [--mebibytes 128] [--transport quic-v1|tcp] [--out bench]
 *
 * In each round every figure is taken of every pair, one after the other, A B C A B C; a ratio is the
 * median of the rounds' ratios. What fails once is not tried again and said so. CPU time and peak memory are the kernel's, of each process, for the
 * time of the transfer. Writes perf.md and perf.html, and the samples to results/perf.json.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/errors.ts';
import { perfPage } from './perf-page.ts';
import {
  BASELINES,
  type PerfPeer,
  perfPeers,
  type RunningDialer,
  type RunningListener,
  startDialer,
  startListener,
  type Transport,
} from './perf-peers.ts';
import { type Pair, type PerfRun, perfTable, type Sample } from './perf-table.ts';
import { ROOT } from './support/participants.ts';
import { cpuSeconds } from './support/processes.ts';
import { median } from './support/statistics.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    mebibytes: { type: 'string', default: '128' },
    transport: { type: 'string', default: 'quic-v1,tcp' },
    out: { type: 'string', default: path.join(ROOT, 'bench') },
    /** Writes the page anew from these samples. */
    from: { type: 'string' },
  },
});

const ROUND_TRIPS = 100;
const HANDSHAKES = 100;
const STREAMS = 16;
const MIB = 2 ** 20;

interface Contest {
  readonly pair: Pair;
  readonly dialer: RunningDialer;
  readonly listener: RunningListener;
}

/** Forgets the peak, where the kernel lets us. */
const forgetPeak = (pid: number): void => {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // The peak is then that of the whole run.
  }
};

const peakBytes = (pid: number): number =>
  Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

const measureTransfer = async (
  { dialer, listener }: Contest,
  bytes: number,
  command: string,
): Promise<Sample> => {
  const pids = [dialer.pid, listener.pid] as const;
  for (const pid of pids) forgetPeak(pid);
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

const measureTimes = async (contest: Contest, command: string): Promise<Sample> => ({
  value: median(await contest.dialer.ask(command)),
});

type Figure = (contest: Contest, bytes: number) => Promise<Sample>;

/** One stream each way, sixteen at once, and what does not depend on throughput. */
const FIGURES: Readonly<Record<string, Figure>> = {
  upload: (contest, bytes) => measureTransfer(contest, bytes, `transfer ${bytes} 0 1`),
  download: (contest, bytes) => measureTransfer(contest, bytes, `transfer 0 ${bytes} 1`),
  streams: (contest, bytes) =>
    measureTransfer(contest, bytes, `transfer ${bytes / STREAMS} 0 ${STREAMS}`),
  roundTrip: (contest) => measureTimes(contest, `roundtrips ${ROUND_TRIPS}`),
  handshake: (contest) => measureTimes(contest, `handshakes ${HANDSHAKES}`),
};

/** Each with itself, and ours with every other in both roles. */
const pairsOf = (peers: readonly PerfPeer[], transport: Transport): [PerfPeer, PerfPeer][] => {
  const able = peers.filter(({ transports }) => transports.includes(transport));
  const withThemselves = able.map((peer): [PerfPeer, PerfPeer] => [peer, peer]);
  const ours = able.filter(({ ours: us, host }) => us && host === undefined);
  const others = able.filter((peer) => !peer.ours);
  const mixed = ours.flatMap((us) =>
    others.flatMap((other): [PerfPeer, PerfPeer][] => [
      [us, other],
      [other, us],
    ]),
  );
  return [...withThemselves, ...mixed];
};

const run = async (): Promise<PerfRun> => {
  const rounds = Number(values.rounds);
  const bytes = Number(values.mebibytes) * MIB;
  const transports = values.transport.split(',') as Transport[];
  const peers = perfPeers();
  const contests: Contest[] = [];
  const started: { end(): Promise<void> }[] = [];
  const enter = async (
    pairs: readonly (readonly [PerfPeer, PerfPeer])[],
    transport: Transport,
  ): Promise<void> => {
    const listeners = new Map<PerfPeer, RunningListener>();
    for (const [dialing, listening] of pairs) {
      const listener = listeners.get(listening) ?? (await startListener(listening, transport));
      listeners.set(listening, listener);
      const dialer = startDialer(dialing, listener);
      started.push(dialer, listener);
      const pair = { transport, dialer: dialing.name, listener: listening.name };
      contests.push({ pair: { ...pair, ours: dialing.ours || listening.ours }, dialer, listener });
    }
  };
  for (const transport of transports) await enter(pairsOf(peers, transport), transport);
  for (const peer of BASELINES) {
    const [transport = 'tcp'] = peer.transports;
    if (transport === 'udp' || transports.includes('tcp')) await enter([[peer, peer]], transport);
  }

  const load = os.loadavg()[0] ?? 0;
  const failures = new Map<Contest, Record<string, string>>();
  const samples = new Map<Contest, Record<string, Sample[]>>();
  for (let round = -1; round < rounds; round++) {
    for (const [name, measure] of Object.entries(FIGURES)) {
      process.stderr.write(
        `${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: ${name}\n`,
      );
      for (const contest of contests) {
        const baseline = BASELINES.includes(contest.dialer.peer);
        if (baseline && name !== 'upload') continue;
        const failed = failures.get(contest) ?? {};
        if (failed[name] !== undefined) continue;
        const sample = await measure(contest, bytes).catch((error: unknown) => {
          const why = messageOf(error);
          process.stderr.write(`${why}\n`);
          failures.set(contest, { ...failed, [name]: why });
        });
        if (round < 0 || sample === undefined) continue;
        const own = samples.get(contest) ?? {};
        own[name] = [...(own[name] ?? []), sample];
        samples.set(contest, own);
      }
    }
  }
  for (const one of started) await one.end();

  const [cpu] = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  return {
    command: `${isRealTime() ? 'chrt -r 1 ' : ''}make bench-perf`,
    date: new Date().toISOString().slice(0, 10),
    machine: `${os.cpus().length} × ${cpu?.model.trim()}, ${memory} GiB, Linux ${os.release()}`,
    load: [load, os.loadavg()[0] ?? 0],
    rounds,
    bytes,
    counts: { roundTrips: ROUND_TRIPS, handshakes: HANDSHAKES, streams: STREAMS },
    results: contests.map((contest) => ({
      ...contest.pair,
      figures: samples.get(contest) ?? {},
      failures: failures.get(contest) ?? {},
    })),
  };
};

/** Then whatever else runs on the machine is kept out of the figures. */
const isRealTime = (): boolean => {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38]) > 0;
};

const measured: PerfRun =
  values.from === undefined ? await run() : JSON.parse(readFileSync(values.from, 'utf8'));
const results = path.join(ROOT, 'results');
mkdirSync(results, { recursive: true });
if (values.from === undefined) {
  writeFileSync(path.join(results, 'perf.json'), JSON.stringify(measured));
}
const table = perfTable(measured);
process.stdout.write(table);
writeFileSync(path.join(values.out, 'perf.md'), table);
writeFileSync(path.join(values.out, 'perf.html'), perfPage(measured));
process.exit(0);
