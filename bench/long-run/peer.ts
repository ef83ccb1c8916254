/**
 * One process of a long run, controlled by its parent (`protocol.ts`).
 *
 *     node peer.ts listen|dial steady|mortal <engines, with commas>
 */

import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from '../../src/connection.ts';
import { withDeadline } from '../../src/deadline.ts';
import { LeanError, messageOf } from '../../src/errors.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { ping } from '../../src/protocols/ping.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import type { Addresses, Order, Outcomes, Report, Sample } from './protocol.ts';
import { type Stack, stacksOf } from './stacks.ts';

const ECHO = '/long-run/echo/1';
/** Rounds at once, in one dialer. */
const WORKERS = 4;
const MAX_TRANSFER = 1 << 20;
const CHUNK = 16 << 10;
/** A peer that was killed is noticed after so long, ms; less than in use, so that a rest is short. */
const IDLE_TIMEOUT = 6_000;
/** A listener that was killed does not answer over QUIC, ms. */
const DIAL_TIMEOUT = 8_000;
/** The close reason of an idle timeout. */
const SILENCE = /timed out: the peer went silent/;
/** After this a round counts as stuck, ms. */
const ROUND_TIMEOUT = 90_000;
/** Rounds of which one is aborted at a random moment. */
const ABORT_EVERY = 6;
/** Rounds of which one goes to the listener that is killed now and then. */
const MORTAL_EVERY = 4;

const [role, life, engines = ''] = process.argv.slice(2);
const stacks = await stacksOf(engines.split(',') as EngineName[]);
const nodes = new Map<string, LeanNode>();
const counts: Record<string, Outcomes> = {};
let where: Readonly<Record<string, Addresses>> = {};
let resting = false;
const busy = new Set<Promise<void>>();

const tell = (report: Report): void => void process.send?.(report);

const random = (below: number): number => Math.floor(Math.random() * below);

const outcomesOf = (stack: string): Outcomes => {
  counts[stack] ??= { rounds: 0, complete: 0, bytes: 0, refused: 0, codes: {}, wrong: [] };
  return counts[stack];
};

for (const { name, transport } of stacks) {
  const limits = name.startsWith('quic') ? { idleTimeout: IDLE_TIMEOUT } : {};
  const node = await createNode({ transports: [transport], limits, dialTimeout: DIAL_TIMEOUT });
  node.handle(ECHO, async (stream) => {
    for await (const chunk of stream) await writeAll(stream, Uint8Array.from(chunk));
  });
  nodes.set(name, node);
}

/** Sends `bytes` random bytes and hashes what comes back. @throws what the stream throws. */
const transfer = async (
  connection: Connection,
  bytes: number,
  signal: AbortSignal,
): Promise<boolean> => {
  const stream = await connection.newStream(ECHO, { signal });
  const onAbort = () => stream.reset();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const [sent, received] = [createHash('sha256'), createHash('sha256')];
    let back = 0;
    const reading = (async () => {
      for await (const chunk of stream) {
        received.update(chunk);
        back += chunk.length;
      }
    })();
    // It may fail while we write.
    reading.catch(() => {});
    for (let left = bytes; left > 0; ) {
      const chunk = randomBytes(Math.min(left, CHUNK));
      sent.update(chunk);
      await writeAll(stream, chunk);
      left -= chunk.length;
    }
    stream.closeWrite();
    await reading;
    return back === bytes && sent.digest('hex') === received.digest('hex');
  } catch (error) {
    stream.reset();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
};

/** Connect, ping, transfer, disconnect. */
const round = async (stack: Stack): Promise<void> => {
  const { name } = stack;
  const addresses = where[name];
  const node = nodes.get(name);
  if (addresses === undefined || node === undefined) return;
  const outcomes = outcomesOf(name);
  const toMortal = addresses.mortal !== undefined && random(MORTAL_EVERY) === 0;
  const aborts = random(ABORT_EVERY) === 0;
  const abort = new AbortController();
  const timer = aborts ? setTimeout(() => abort.abort(), random(100)) : undefined;
  const bytes = Math.floor(MAX_TRANSFER ** Math.random());
  outcomes.rounds++;
  let connection: Connection | undefined;
  try {
    const address = (toMortal ? addresses.mortal : undefined) ?? addresses.steady;
    const { signal } = abort;
    connection = await node.dial(address, { force: true, signal });
    for (let pings = random(4); pings > 0; pings--) await ping(connection, { signal });
    const same = await transfer(connection, bytes, signal);
    if (same) {
      outcomes.complete++;
      outcomes.bytes += 2 * bytes;
    } else outcomes.wrong.push(`${bytes} bytes came back short or changed, without an error`);
  } catch (error) {
    const provoked = toMortal || aborts;
    const timedOut =
      error instanceof LeanError && (error.code === 'ERR_TIMEOUT' || SILENCE.test(error.message));
    // On a busy machine time limits are hit; they are counted separately.
    if (!provoked && !timedOut) {
      outcomes.wrong.push(`without a cause: ${messageOf(error)}`);
      return;
    }
    outcomes.refused++;
    const what = error instanceof LeanError ? error.code : messageOf(error);
    const code = provoked ? what : `${what}, unprovoked`;
    outcomes.codes[code] = (outcomes.codes[code] ?? 0) + 1;
  } finally {
    clearTimeout(timer);
    await connection?.close();
  }
};

const work = async (): Promise<void> => {
  while (!resting) {
    const stack = stacks[random(stacks.length)] as Stack;
    const running = withDeadline(round(stack), ROUND_TIMEOUT, 'a round').catch((error: unknown) =>
      outcomesOf(stack.name).wrong.push(messageOf(error)),
    );
    await running;
  }
};

const goOn = (): void => {
  resting = false;
  for (let i = 0; i < WORKERS; i++) {
    const worker: Promise<void> = work().finally(() => busy.delete(worker));
    busy.add(worker);
  }
};

const openConnections = (): number =>
  [...nodes.values()].reduce((sum, node) => sum + node.connections().length, 0);

const rest = async (): Promise<void> => {
  resting = true;
  await Promise.all(busy);
  // Those whose peer was killed end by themselves.
  for (let waited = 0; openConnections() > 0 && waited < 4 * IDLE_TIMEOUT; waited += 100)
    await delay(100);
  const connections = openConnections();
  // Sockets and buffers of what has just ended are released.
  await delay(2_500);
  globalThis.gc?.();
  await delay(100);
  globalThis.gc?.();
  const { rss, heapUsed, external } = process.memoryUsage();
  const sample: Sample = {
    at: performance.now(),
    resident: rss,
    heap: heapUsed + external,
    handles: process.getActiveResourcesInfo().length,
    descriptors: readdirSync('/proc/self/fd').length,
    connections,
  };
  tell({ say: 'sample', sample, counts });
};

process.on('message', (order: Order) => {
  if (order.do === 'dial') {
    where = order.where;
    // At rest it waits for the order to go on.
    if (busy.size === 0 && !resting) goOn();
  } else if (order.do === 'go on') {
    if (role === 'dial') goOn();
  } else rest();
});
process.on('disconnect', () => process.exit());

if (role === 'listen') {
  const addresses: Record<string, string> = {};
  for (const { name, address } of stacks) {
    const listener = await nodes.get(name)?.listen(address);
    if (listener !== undefined) addresses[name] = `${listener.address}`;
  }
  tell({ say: 'listening', addresses });
} else tell({ say: 'listening', addresses: {} });
process.title = `long-run ${role} ${life}`;
