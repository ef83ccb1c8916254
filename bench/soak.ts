/**
 * Endurance of a QUIC engine: for an hour, a listener and a dialer, each a process, make connections with short
 * exchanges, transfers and many streams at once, and end them in every way. Resident memory and open files
 * of both are sampled.
 *
 *     node bench/soak.ts [--minutes 60] [--engine quinn] [--pause 100]
 *
 * `--pause`: milliseconds between two rounds. Prints a table on stdout, each minute a line on stderr. Exit code
 * 1 when a round failed.
 */

import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  createProgram,
  exitsWith,
  oneOf,
  positive,
  runProgram,
  whole,
} from '../interop/command-line.ts';
import { withDeadline } from '../src/deadline.ts';
import { LeanError, messageOf } from '../src/errors.ts';
import { type Connection, createNode, handlePerf, PERF, perf, ping, quic } from '../src/index.ts';
import { ENGINE_NAMES, type EngineName } from '../src/quic/engine-name.ts';
import { type Command, end, lines, residentBytes, start } from './support/processes.ts';
import { print, startSection } from './support/report.ts';

interface Flags {
  readonly minutes: number;
  readonly engine: EngineName;
  /** Milliseconds. */
  readonly pause: number;
}

const MIB = 2 ** 20;
const MINUTE = 60_000;
/** What one round may take, ms. */
const ROUND_TIMEOUT = 2 * MINUTE;
const INTERVAL = 5_000;

const nodeOn = (engine: string) =>
  createNode({ transports: [quic({ engine: engine as EngineName })] });

const listen = async (engine: string): Promise<void> => {
  const node = await nodeOn(engine);
  node.handle(PERF, async (stream) => void (await handlePerf(stream)));
  const listener = await node.listen('/ip4/127.0.0.1/udp/0/quic-v1');
  process.stdout.write(`${listener.address}\n`);
  process.stdin.resume().once('end', () => node.close().then(() => process.exit(0)));
};

/** Awaits work that must fail; ERR_HANDSHAKE when it does not. */
const fails = async (work: Promise<unknown>): Promise<void> => {
  const failed = await work.then(
    () => false,
    () => true,
  );
  if (!failed) throw new LeanError('ERR_HANDSHAKE', 'what was to fail did not');
};

/** Streams that end in every other way than by two FINs. */
const endBadly = async (connection: Connection): Promise<void> => {
  const reset = await connection.newStream(PERF);
  reset.write(new Uint8Array(100_000));
  reset.reset(7);
  const stopped = await connection.newStream(PERF);
  stopped.write(new Uint8Array(8));
  stopped.stopSending(7);
  stopped.closeWrite();
  const refused = await connection.newStream('/nobody/1.0.0');
  refused.write(new Uint8Array(10));
  await fails(refused.read());
  await fails(connection.newStream(PERF, { signal: AbortSignal.abort() }));
};

/** Answers each line of stdin, a number of milliseconds to pause, with a round and its outcome. */
const dial = async (engine: string, address: string): Promise<void> => {
  const node = await nodeOn(engine);
  /** Between two rounds of a busy machine it may be silent for longer than its idle timeout. */
  const lasting = await node.dial(address);
  const idle = setInterval(() => void ping(lasting).catch(() => {}), INTERVAL);
  const nobody = address.replace(/udp\/\d+/, 'udp/9');
  const round = async (number: number): Promise<void> => {
    const connection = await node.dial(address, { force: true });
    await ping(connection);
    for (let i = 0; i < 20; i++) await perf(connection, 1, 1);
    await perf(connection, 2 * MIB, 2 * MIB);
    await Promise.all(Array.from({ length: 100 }, () => perf(connection, 10_000, 10_000)));
    await endBadly(connection);
    // Some are closed in the middle of an upload.
    if (number % 3 === 0) {
      const upload = fails(perf(connection, 1024 * MIB, 0));
      await connection.close(9, 'enough');
      await upload;
    } else await connection.close();
    if (number % 10 === 0)
      await fails(node.dial(nobody, { force: true, signal: AbortSignal.timeout(50) }));
    await ping(lasting);
  };
  let number = 0;
  for await (const pause of createInterface({ input: process.stdin })) {
    await delay(Number(pause));
    const outcome = withDeadline(round(number++), ROUND_TIMEOUT, 'a round');
    process.stdout.write(`${await outcome.then(() => 'ok', messageOf)}\n`);
  }
  clearInterval(idle);
  await node.close();
  process.exit(0);
};

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

const soak = async (minutes: number, engine: string, pause: number): Promise<boolean> => {
  const conditions = startSection();
  const command = (...args: string[]): Command => ({
    file: process.execPath,
    args: [...process.execArgv, fileURLToPath(import.meta.url), ...args],
  });
  const listening = command('listen', engine);
  const listener = start(listening);
  const address = await lines(listener, listening)();
  const dialing = command('dial', engine, address);
  const dialer = start(dialing);
  const answer = lines(dialer, dialing, 2 * ROUND_TIMEOUT);
  const sides = [dialer, listener].map(({ pid = 0 }) => pid);

  const samples: { readonly resident: number[]; readonly files: number[] }[] = [];
  const sample = (): void => {
    samples.push({ resident: sides.map(residentBytes), files: sides.map(openFiles) });
  };
  const began = performance.now();
  const until = began + minutes * MINUTE;
  let [rounds, failures, sampled, told] = [0, 0, 0, 0];
  while (performance.now() < until) {
    dialer.stdin?.write(`${pause}\n`);
    const outcome = await answer();
    rounds++;
    if (outcome !== 'ok') {
      failures++;
      process.stderr.write(`round ${rounds}: ${outcome}\n`);
    }
    const now = performance.now();
    if (now - sampled > INTERVAL) {
      sample();
      sampled = now;
    }
    if (now - told > MINUTE) {
      const { resident = [], files = [] } = samples.at(-1) ?? {};
      const shown = resident.map((bytes) => `${(bytes / MIB).toFixed(0)} MiB`).join(', ');
      const spent = ((now - began) / MINUTE).toFixed(0);
      process.stderr.write(`${spent} min, ${rounds} rounds: ${shown}; files ${files.join(', ')}\n`);
      told = now;
    }
  }
  sample();
  await end(dialer, 'end of stdin');
  await end(listener, 'end of stdin');

  const parts = [0.1, 0.25, 0.5, 0.75, 1];
  const row = (name: string, values: readonly number[]): string[] => [
    name,
    ...parts.map((part) => String(values[Math.ceil(part * values.length) - 1])),
    String(Math.max(...values)),
  ];
  const mebibytes = (side: number): number[] =>
    samples.map(({ resident }) => Math.round((resident[side] ?? Number.NaN) / MIB));
  const files = (side: number): number[] => samples.map((it) => it.files[side] ?? Number.NaN);
  print({
    id: 'soak',
    rows: [
      ['', ...parts.map((part) => `after ${part * 100} %`), 'most'],
      row('dialer, MiB', mebibytes(0)),
      row('listener, MiB', mebibytes(1)),
      row('dialer, open files', files(0)),
      row('listener, open files', files(1)),
    ],
    note:
      `VmRSS and open files in ${minutes} minutes of ${engine}: ${rounds} rounds, ${failures} of them failed. A ` +
      'round is a connection with 20 exchanges of a byte, 2 MiB each way, 100 streams at once of 10 kB each ' +
      `way, streams that are reset, stopped and refused, and a close, every third in the middle of an upload. ${conditions()}`,
  });
  return failures === 0;
};

const program = createProgram('soak', 'Whether a QUIC engine holds out.')
  .option('--minutes <n>', 'how long', positive, 60)
  .option('--engine <name>', ENGINE_NAMES.join(', '), oneOf(ENGINE_NAMES), 'quinn')
  .option('--pause <ms>', 'between two rounds', whole(0, 3_600_000), 100)
  .action(
    exitsWith(async ({ minutes, engine, pause }: Flags) =>
      (await soak(minutes, engine, pause)) ? 0 : 1,
    ),
  );
// The two sides, each a process of its own that this program starts.
program.command('listen <engine>', { hidden: true }).action(listen);
program.command('dial <engine> <address>', { hidden: true }).action(dial);
await runProgram(program);
