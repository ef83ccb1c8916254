/**
 * Where the time of a transfer, or of handshakes in a row, goes: samples both sides of one-stream
 * uploads with Linux `perf` and counts them by kind of code. Prints a table on stdout; docs/performance.md
 * has both tables.
 *
 *     node bench/profile.ts [--mebibytes 1024 | --handshakes 3000] [quinn quiche node tcp]
 *
 * quinn's binary has no symbols; with those of `cargo build --profile quick`, put at native/quinn.node, its
 * cryptography is told from the rest.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { all, createProgram, oneOf, whole } from '../interop/command-line.ts';
import { ENGINE_NAMES } from '../src/quic/engine-name.ts';
import { leanPeers, type PerfPeer, startDialer, startListener } from './perf-peers.ts';
import { print, startSection } from './support/report.ts';

const STACKS = [...ENGINE_NAMES, 'tcp'] as const;
const program = createProgram('profile', 'Where the time of a transfer, or of handshakes, goes.')
  .argument('[stack...]', `what to measure: ${STACKS.join(', ')}`, all(oneOf(STACKS)))
  .option('--mebibytes <n>', 'that the transfer moves', whole(4, 1 << 20), 1024)
  .option('--handshakes <n>', 'measures so many of these instead', whole(4, 1e6))
  .parse();
const { mebibytes, handshakes } = program.opts<{ mebibytes: number; handshakes?: number }>();
const [stacks = []] = program.processedArgs as string[][];
const bytes = mebibytes * 2 ** 20;
const [warmUp, work, sides] =
  handshakes === undefined
    ? [`transfer ${bytes / 4} 0 1`, `transfer ${bytes} 0 1`, ['sender', 'receiver']]
    : [
        `handshakes ${Math.ceil(handshakes / 4)}`,
        `handshakes ${handshakes}`,
        ['dialer', 'listener'],
      ];

/** Without these, stacks end at the frames of V8. */
const V8_FLAGS = ['--perf-basic-prof', '--interpreted-frames-native-stack'];

/** A sample is of the first kind that fits its innermost frame (`self`, `library`) or any frame (`stack`). */
const KINDS: readonly (readonly [string, (sample: Frames) => boolean])[] = [
  ['kernel: send', ({ kernel, stack }) => kernel && /sys_sendm?msg|sys_write/.test(stack)],
  ['kernel: receive', ({ kernel, stack }) => kernel && /sys_recvm?msg|sys_read/.test(stack)],
  ['kernel: other', ({ kernel }) => kernel],
  [
    'cryptography',
    ({ self, library }) =>
      /libcrypto/.test(library) ||
      /chacha|poly1305|aes|ghash|gcm|sha\d|x25519|p256|^ec_|ecp_|ecdsa|^bn_/i.test(self),
  ],
  ['TLS', ({ library }) => /libssl/.test(library)],
  ['QUIC', ({ library }) => /node\.napi\.node|ngtcp2|quinn\.node/.test(library)],
  [
    'garbage collection',
    ({ stack }) => /Marking|Sweep|Scaveng|MarkCompact|Heap::Collect|ArrayBufferSweeper/.test(stack),
  ],
  ['N-API', ({ stack }) => /napi_|CallFinalizer|napi::/.test(stack)],
  [
    'JavaScript',
    ({ library, self }) => /perf-\d+\.map|^\[JIT\]/.test(library) || /^Builtins_/.test(self),
  ],
  ['memory (malloc, copies)', ({ library }) => /libc\.so/.test(library)],
  ['Node.js and V8', () => true],
];

interface Frames {
  /** Innermost function, and the file it is in. */
  readonly self: string;
  readonly library: string;
  readonly kernel: boolean;
  readonly stack: string;
}

/** Counts the samples of a `perf.data` file by kind. */
const countByKind = async (file: string): Promise<Map<string, number>> => {
  const counts = new Map<string, number>();
  const script = spawn('perf', ['script', '-i', file, '-F', 'ip,sym,dso'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let frames: string[] = [];
  const count = (): void => {
    const [top] = frames;
    if (top === undefined) return;
    const [, self = '', library = ''] = /^\s*[0-9a-f]+ (.*) \((.*)\)$/.exec(top) ?? [];
    const sample = {
      self,
      library,
      kernel: /kernel|^\[.*\]$/.test(library) && !library.startsWith('[JIT]'),
      stack: frames.join('\n'),
    };
    const kind = KINDS.find(([, fits]) => fits(sample))?.[0] ?? '';
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    frames = [];
  };
  for await (const line of createInterface({ input: script.stdout })) {
    if (line.trim() === '') count();
    else frames.push(line);
  }
  count();
  return counts;
};

const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-profile-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** For dialer and listener, the share of each kind in the samples, 0 … 1. */
const profile = async (peer: PerfPeer): Promise<Map<string, number>[]> => {
  const traced = { ...peer, args: [...V8_FLAGS, ...peer.args] };
  const listener = await startListener(traced, peer.transports[0] ?? 'quic-v1');
  const dialer = startDialer(traced, listener);
  await dialer.ask(warmUp);
  const files = ['dialer', 'listener'].map((side) => path.join(folder, side));
  const recorders = [dialer, listener].map(({ pid }, side) =>
    spawn(
      'perf',
      ['record', '-e', 'cpu-clock', '-F', '499', '-g', '-p', `${pid}`, '-o', files[side] ?? ''],
      { stdio: 'ignore' },
    ),
  );
  await dialer.ask(work);
  for (const recorder of recorders) {
    const ended = once(recorder, 'close');
    recorder.kill('SIGINT');
    await ended;
  }
  const counted = await Promise.all(files.map(countByKind));
  await dialer.end();
  await listener.end();
  return counted.map((counts) => {
    const all = [...counts.values()].reduce((sum, one) => sum + one, 0);
    return new Map([...counts].map(([kind, one]) => [kind, one / all]));
  });
};

if (spawnSync('perf', ['--version']).error !== undefined) {
  process.stderr.write('perf is not installed (Debian: apt install linux-perf)\n');
  process.exit(2);
}
const conditions = startSection();
const peers = leanPeers().filter(
  ({ env, transports }) =>
    stacks.length === 0 ||
    stacks.includes(transports[0] === 'tcp' ? 'tcp' : (env?.QUIC_ENGINE ?? '')),
);
const columns: [string, Map<string, number>][] = [];
for (const peer of peers) {
  process.stderr.write(`${peer.name}\n`);
  for (const [side, shares] of (await profile(peer)).entries()) {
    columns.push([side === 0 ? `${peer.name}: ${sides[0]}` : `${sides[side]}`, shares]);
  }
}
const percent = (share = 0): string => `${(share * 100).toFixed(0)} %`;
print({
  id: 'profile',
  rows: [
    ['in', ...columns.map(([name]) => name)],
    ...KINDS.map(([kind]) => [kind, ...columns.map(([, shares]) => percent(shares.get(kind)))]),
  ],
  note: `Samples of \`perf record -e cpu-clock -F 499 -g\`, both sides at once, all threads. ${conditions()}`,
});
process.exit(0);
