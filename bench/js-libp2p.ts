/**
 * js-libp2p 3 over libp2p-lean/js-libp2p beside js-libp2p 3 over @chainsafe/libp2p-quic, and beside
 * libp2p-lean without js-libp2p: in one run, in turn, both sides of each in processes of their own, over
 * loopback. Then what 1,000 connections take, what a handshake that stalls does to a dial, and what becomes of a stream whose
 * reader is paused. The tables go to stdout.
 *
 *     node bench/js-libp2p.ts [--rounds 5] [--mib 128] [--connections 1000] [--no-defects] [stack ...]
 */

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus, loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { all, createProgram, oneOf, whole } from '../interop/command-line.ts';
import type { Insisting, Request, Usage } from './js-libp2p/peer.ts';
import { type PausedReader, STACK_NAMES, type StackName } from './js-libp2p/stacks.ts';
import { median, ratio } from './support/statistics.ts';

const LABEL: Readonly<Record<StackName, string>> = {
  lean: 'js-libp2p over libp2p-lean',
  chainsafe: 'js-libp2p over @chainsafe/libp2p-quic',
  plain: 'libp2p-lean alone',
};
const HANDSHAKES = 30;
const STREAMS = 16;
/** A step that takes longer has failed; milliseconds. */
const STEP_TIMEOUT = 180_000;
const GIB = 1 << 30;

const program = createProgram('js-libp2p', "js-libp2p over our QUIC beside js-libp2p's own.")
  .argument('[stack...]', `what to measure: ${STACK_NAMES.join(', ')}`, all(oneOf(STACK_NAMES)))
  .option('--rounds <n>', 'how often', whole(1, 1000), 5)
  .option('--mib <n>', 'that a transfer moves', whole(1, 2047), 128)
  .option('--connections <n>', 'that memory is measured with; 0: not at all', whole(0, 1e5), 1000)
  .option('--no-defects', 'leave out the stalled handshake and the paused reader')
  .parse();
const { rounds, mib, connections, defects } = program.opts<
  Record<'rounds' | 'mib' | 'connections', number> & { readonly defects: boolean }
>();
const [named = []] = program.processedArgs as StackName[][];
const bytes = mib << 20;
const chosen = STACK_NAMES.filter((it) => named.length === 0 || named.includes(it));

interface Peer extends AsyncDisposable {
  ask<T>(request: Request): Promise<T>;
}

const startPeer = async (stack: StackName): Promise<Peer> => {
  const file = fileURLToPath(new URL('js-libp2p/peer.ts', import.meta.url));
  const child: ChildProcess = fork(file, [stack], {
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = once(child, 'exit').then(() => [{ error: 'the process ended' }]);
  const next = async (): Promise<{ value?: unknown; error?: string }> => {
    const signal = AbortSignal.timeout(STEP_TIMEOUT);
    const [answer] = await Promise.race([once(child, 'message', { signal }), gone]);
    return answer;
  };
  await next();
  return {
    ask: async <T>(request: Request): Promise<T> => {
      const answer = next();
      child.send(request);
      const { value, error } = await answer;
      if (error !== undefined) throw new Error(`${stack}, ${request.do}: ${error}`);
      return value as T;
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
};

const COLUMNS = {
  cold: 'first handshake + a byte, ms',
  warm: 'warm handshake + a byte, ms',
  up: 'upload, Gbit/s',
  down: 'download, Gbit/s',
  upMany: `upload, ${STREAMS} streams, Gbit/s`,
  downMany: `download, ${STREAMS} streams, Gbit/s`,
  cpu: 'CPU s/GiB, both sides, uploads',
} as const;
type Column = keyof typeof COLUMNS;
type Round = Record<Column, number>;

const gbits = (milliseconds: number): number => (bytes * 8) / 1e6 / milliseconds;

const measure = async (stack: StackName): Promise<Round> => {
  await using listener = await startPeer(stack);
  await using dialer = await startPeer(stack);
  const address = await listener.ask<string>({ do: 'address' });
  const cold = await dialer.ask<number>({ do: 'cold', address });
  const times = await dialer.ask<number[]>({ do: 'handshakes', address, count: HANDSHAKES });
  const move = (direction: 'upload' | 'download', streams: number): Promise<number> =>
    dialer.ask<number>({ do: direction, bytes, streams });
  const cpu = async (): Promise<number> =>
    (await listener.ask<Usage>({ do: 'usage' })).cpu +
    (await dialer.ask<Usage>({ do: 'usage' })).cpu;
  /** The second of two such transfers: in the first, code is compiled and windows open. */
  const second = async (direction: 'upload' | 'download', streams: number): Promise<number> => {
    await move(direction, streams);
    return gbits(await move(direction, streams));
  };
  await move('upload', 1);
  const before = await cpu();
  const up = gbits(await move('upload', 1));
  const used = (await cpu()) - before;
  const down = await second('download', 1);
  const upMany = await second('upload', STREAMS);
  const downMany = await second('download', STREAMS);
  // The first ten run before their code is compiled.
  const warm = median(times.slice(10));
  return { cold, warm, up, down, upMany, downMany, cpu: (used * GIB) / bytes };
};

/** KiB that one more connection takes in each process. */
const memoryOf = async (stack: StackName): Promise<readonly [listener: number, dialer: number]> => {
  await using listener = await startPeer(stack);
  await using dialer = await startPeer(stack);
  const address = await listener.ask<string>({ do: 'address' });
  const rss = async (peer: Peer): Promise<number> => (await peer.ask<Usage>({ do: 'usage' })).rss;
  await dialer.ask({ do: 'hold', address, count: 50 });
  const before = [await rss(listener), await rss(dialer)];
  const open = await dialer.ask<number>({ do: 'hold', address, count: connections });
  if (open < connections) throw new Error(`${stack}: only ${open} of the connections are open`);
  const after = [await rss(listener), await rss(dialer)];
  const [here = 0, there = 0] = after.map((it, i) => (it - (before[i] ?? 0)) / 1024 / connections);
  return [here, there];
};

// ── Two defects of @chainsafe/libp2p-quic 2.1 ──────────────────────────────────────────────────

const STALLING = fileURLToPath(new URL('../test/support/silent-handshakes.ts', import.meta.url));
/** More than js-libp2p keeps of a paused stream before it resets it, and than fits into ours. */
const TO_PAUSED = 64 << 20;

/** A dial with a byte there and back while another client's handshake has stalled. */
const behindStalled = async (stack: StackName): Promise<Insisting> => {
  await using listener = await startPeer(stack);
  await using dialer = await startPeer(stack);
  const address = await listener.ask<string>({ do: 'address' });
  // So that nothing is first.
  await dialer.ask({ do: 'handshakes', address, count: HANDSHAKES });
  const port = /\/udp\/(\d+)\//.exec(address)?.[1] ?? '';
  const stalling = spawn(process.execPath, [STALLING, port, '127.0.0.2', '1', 'only'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(stalling.stdout, 'data', { signal: AbortSignal.timeout(STEP_TIMEOUT) });
    return await dialer.ask<Insisting>({ do: 'insist', address });
  } finally {
    stalling.kill('SIGKILL');
  }
};

const toPausedReader = async (
  stack: StackName,
): Promise<{ readonly sent: number; readonly reader: PausedReader }> => {
  await using listener = await startPeer(stack);
  await using dialer = await startPeer(stack);
  const address = await listener.ask<string>({ do: 'address' });
  await dialer.ask({ do: 'cold', address });
  const sent = await dialer.ask<number>({ do: 'pause', bytes: TO_PAUSED });
  return { sent, reader: await listener.ask<PausedReader>({ do: 'resume' }) };
};

const inMib = (amount: number): string => `${(amount / (1 << 20)).toFixed(2)} MiB`;

const showDefects = async (): Promise<void> => {
  const lines: string[][] = [];
  for (const stack of chosen) {
    // A stream of libp2p-lean's own is not paused: it is read, or it is not.
    if (stack === 'plain') continue;
    process.stderr.write(`a stalled handshake, a paused reader: ${LABEL[stack]}\n`);
    const { milliseconds, failed } = await behindStalled(stack);
    const { sent, reader } = await toPausedReader(stack);
    lines.push([
      LABEL[stack],
      `${milliseconds.toFixed(1)} ms${failed > 0 ? `, after ${failed} dials that failed` : ''}`,
      `${inMib(sent)} sent; ${reader.status}, ${inMib(reader.held)} held`,
      inMib(reader.received),
    ]);
  }
  console.log(
    `\n${row(['', 'a dial while one handshake stalls', `${inMib(TO_PAUSED)} to a paused reader`, 'read after `resume()`'])}`,
  );
  console.log(row(['---', '---:', '---', '---:']));
  for (const cells of lines) console.log(row(cells));
};

const row = (cells: readonly (string | number)[]): string =>
  `| ${cells.map((it) => (typeof it === 'number' ? it.toFixed(2) : it)).join(' | ')} |`;

const loadBefore = loadavg()[0];
const results = new Map<StackName, Round[]>(chosen.map((it) => [it, []]));
for (let round = 0; round < rounds; round++) {
  for (const stack of chosen) {
    process.stderr.write(`round ${round + 1} of ${rounds}: ${LABEL[stack]}\n`);
    results.get(stack)?.push(await measure(stack));
  }
}
const of = (stack: StackName, column: Column): number[] =>
  (results.get(stack) ?? []).map((it) => it[column]);

console.log(row(['', ...chosen.map((it) => LABEL[it]), 'ours / theirs', 'js-libp2p / alone']));
console.log(row(['---', ...chosen.map(() => '---:'), '---:', '---:']));
for (const column of Object.keys(COLUMNS) as Column[]) {
  const ratios = [
    ratio(of('lean', column), of('chainsafe', column)),
    ratio(of('lean', column), of('plain', column)),
  ].map((it) => `${it.toFixed(2)} ×`);
  console.log(row([COLUMNS[column], ...chosen.map((it) => median(of(it, column))), ...ratios]));
}
if (connections > 0) {
  const memory: (readonly [number, number])[] = [];
  for (const stack of chosen) {
    process.stderr.write(`${connections} connections: ${LABEL[stack]}\n`);
    memory.push(await memoryOf(stack));
  }
  const labels = [`listener, KiB for each of ${connections} connections`, 'dialer, the same'];
  for (const [i, label] of labels.entries()) {
    console.log(row([label, ...memory.map((it) => it[i] ?? Number.NaN), '', '']));
  }
}
if (defects) await showDefects();
console.log(
  `\n${rounds} rounds, medians, ratios within a round; ${mib} MiB each; Node.js ${process.version}; ` +
    `${cpus().length} × ${cpus()[0]?.model}; load average ${loadBefore?.toFixed(1)} before, ${loadavg()[0]?.toFixed(1)} after.`,
);
process.exit(0);
