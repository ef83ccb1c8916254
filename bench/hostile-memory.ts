/**
 * The memory of a listener whose clients open ping streams, write and never read: before them, at most, and
 * after it has got rid of them.
 *
 *     node bench/hostile-memory.ts [--from <checkout>] [--stacks quiche,node,yamux] [--clients 1,6]
 *                                  [--seconds 10]
 *
 * `--from`: another checkout of this project, with its node_modules, whose listener is measured instead. The
 * clients are of this checkout. `node` needs NODE_QUIC. Linux only.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { createProgram, listOf, oneOf, positive, whole } from '../interop/command-line.ts';
import { ROOT } from './support/participants.ts';

const STACKS = ['quiche', 'node', 'yamux'] as const;
const values = createProgram('hostile-memory', 'What clients cost that write and never read.')
  .option('--from <checkout>', 'of this project, whose listener is measured', ROOT)
  .option('--stacks <names>', 'with commas in between', listOf(oneOf(STACKS)), [...STACKS])
  .option('--clients <numbers>', 'with commas in between', listOf(whole(1, 1000)), [1, 6])
  .option('--seconds <n>', 'how long the clients write', positive, 10)
  .parse()
  .opts<{ from: string; stacks: string[]; clients: number[]; seconds: number }>();

const CLIENT = path.join(ROOT, 'test/support/stalling-client.ts');
/** By then, silently dropped QUIC connections have timed out; seconds. */
const IDLE = 40;

/** MiB. */
const memoryOf = ({ pid }: ChildProcess): number => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
};

/** @returns a function that waits for the last figure, and makes the line. */
const measure = async (stack: string, clients: number): Promise<() => Promise<string>> => {
  const isQuic = stack === 'quiche' || stack === 'node';
  const where = isQuic ? '/ip4/127.0.0.1/udp/0/quic-v1' : '/ip4/127.0.0.1/tcp/0';
  const engine = isQuic ? ['--engine', stack] : [];
  const launcher = path.join(path.resolve(values.from), 'bin/libp2p-lean');
  const listener = spawn(process.execPath, [launcher, 'listen', ...engine, where], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  process.once('exit', () => listener.kill('SIGKILL'));
  const [address] = (await once(createInterface({ input: listener.stdout }), 'line')) as [string];
  await delay(1_000);
  const before = memoryOf(listener);
  const attackers = Array.from({ length: clients }, () =>
    spawn(process.execPath, [CLIENT, address, isQuic ? 'quic' : stack, '1100'], {
      stdio: ['pipe', 'ignore', 'ignore'],
    }),
  );
  let most = 0;
  for (const end = performance.now() + 1e3 * values.seconds; performance.now() < end; ) {
    most = Math.max(most, memoryOf(listener));
    await delay(50);
  }
  for (const attacker of attackers) attacker.kill('SIGKILL');
  const until = performance.now() + 1e3 * (isQuic ? IDLE : 4);
  return async () => {
    await delay(Math.max(0, until - performance.now()));
    const left = memoryOf(listener);
    listener.kill('SIGKILL');
    return `${stack}, ${clients} connections: ${before} MiB, at most ${most}, afterwards ${left}`;
  };
};

const results: (() => Promise<string>)[] = [];
for (const stack of values.stacks) {
  for (const clients of values.clients) results.push(await measure(stack, clients));
}
for (const result of results) console.log(await result());
