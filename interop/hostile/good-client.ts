/**
 * A well-behaved client, as a process: each second it pings over one connection and makes a new connection.
 *
 *     node interop/hostile/good-client.ts <multiaddr> <dials to warm up>
 *
 * Warms the listener up first and prints `ready`; then, for each line of stdin, what it has seen since the last.
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from '../../src/connection.ts';
import { createNode } from '../../src/node/node.ts';
import { ping } from '../../src/protocols/ping.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import { endWithParent } from '../end-with-parent.ts';

/** What a good client has seen since it was last asked. */
export interface Sight {
  readonly pings: number;
  /** Not answered within 5 s; it then connects again. */
  readonly pingsLost: number;
  /** Milliseconds. */
  readonly worstPing: number;
  /** Of a new connection and a ping over it. */
  readonly dials: number;
  readonly dialsFailed: number;
  readonly worstDial: number;
  readonly lastError: string | null;
}

const EVERY = 1_000;
const PING_TIMEOUT = 5_000;
const DIAL_TIMEOUT = 10_000;
/** Dials before anything is measured: how many at a time. */
const WIDTH = 5;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
const fresh = (): Mutable<Sight> => ({
  pings: 0,
  pingsLost: 0,
  worstPing: 0,
  dials: 0,
  dialsFailed: 0,
  worstDial: 0,
  lastError: null,
});

endWithParent();
const [address = '', warmUp = '200'] = process.argv.slice(2);
const yamux = { secureChannels: ['noise'], muxers: ['yamux'] } as const;
const transport = address.includes('quic')
  ? quic({ engine: 'quiche' })
  : address.includes('/ws')
    ? websocket(yamux)
    : tcp(yamux);
const node = await createNode({ transports: [transport] });
/** Each dial is of another peer id: some implementations allow one connection for each. */
const visitor = await createNode({ transports: [transport] });
let sight = fresh();

const dial = (from = visitor): Promise<Connection> =>
  from.dial(address, { force: true, signal: AbortSignal.timeout(DIAL_TIMEOUT) });

const pingOnce = async (connection: Connection): Promise<number> => {
  const began = performance.now();
  await ping(connection, { timeout: PING_TIMEOUT });
  return performance.now() - began;
};

const failed = (error: unknown): void => {
  sight.lastError = String(error).slice(0, 200);
};

const keepPinging = async (connection: Connection | undefined): Promise<void> => {
  for (let current = connection; ; ) {
    const next = delay(EVERY);
    sight.pings++;
    try {
      current ??= await dial(node);
      sight.worstPing = Math.max(sight.worstPing, await pingOnce(current));
    } catch (error) {
      failed(error);
      sight.pingsLost++;
      current?.close().catch(() => {});
      current = undefined;
    }
    await next;
  }
};

const keepDialling = async (): Promise<void> => {
  for (;;) {
    const next = delay(EVERY);
    sight.dials++;
    const began = performance.now();
    try {
      const connection = await dial();
      await pingOnce(connection);
      sight.worstDial = Math.max(sight.worstDial, performance.now() - began);
      await connection.close();
    } catch (error) {
      failed(error);
      sight.dialsFailed++;
    }
    await next;
  }
};

/** Failures while warming up are ignored: those that matter repeat later. */
const visit = async (): Promise<void> => {
  const connection = await dial();
  await pingOnce(connection);
  await connection.close();
};
for (let n = 0; n < Number(warmUp); n += WIDTH)
  await Promise.all(Array.from({ length: WIDTH }, () => visit().catch(() => {})));
const connection = await dial(node);
const lines = createInterface({ input: process.stdin });
process.stdout.write('ready\n');
await once(lines, 'line');
sight = fresh();
lines.on('line', () => {
  process.stdout.write(`${JSON.stringify(sight)}\n`);
  sight = fresh();
});
keepPinging(connection);
keepDialling();
