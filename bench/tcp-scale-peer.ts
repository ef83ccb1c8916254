/**
 * One end of what tcp-scale.ts measures, over TCP and Noise. Run with `--expose-gc`.
 *
 *     node bench/tcp-scale-peer.ts streams|connections <muxer> listen            prints its address
 *     node bench/tcp-scale-peer.ts streams|connections <muxer> dial <address>    prints `ready`
 *
 * Then, for each line of stdin: `open <n>` opens n more and prints the milliseconds until every one has
 * echoed; `close` closes them and prints `closed`; `memory <n>` waits until n are open at this end and
 * prints the bytes in use.
 */

import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { multiaddr } from '@multiformats/multiaddr';
import { createProgram, oneOf } from '../interop/command-line.ts';
import type { TransportConnection } from '../src/connection.ts';
import { generateHostKey } from '../src/identity/keys.ts';
import { readExactly, writeAll } from '../src/stream/bytes.ts';
import type { Stream } from '../src/stream.ts';
import { tcpTransport } from '../src/transports/tcp.ts';

/** More than are measured. */
const ENOUGH = 50_000;
/** Dials at a time. */
const PARALLEL = 20;
/** Opened and closed before anything is measured, so that V8 has compiled the code that matters. */
const WARM_UP = { streams: 5_000, connections: 1_000 };

const WHAT = ['streams', 'connections'] as const;
const MUXERS = ['yamux', 'mplex'] as const;
const ROLES = ['listen', 'dial'] as const;
const program = createProgram('tcp-scale-peer', 'One end of what tcp-scale.ts measures.')
  .argument('<what>', WHAT.join(', '), oneOf(WHAT))
  .argument('<muxer>', MUXERS.join(', '), oneOf(MUXERS))
  .argument('<role>', ROLES.join(', '), oneOf(ROLES))
  .argument('[address]', 'which to dial', String, '')
  .parse();
const [what, muxer, role, address] = program.processedArgs as [
  (typeof WHAT)[number],
  (typeof MUXERS)[number],
  (typeof ROLES)[number],
  string,
];
const limits = {
  maxStreams: ENOUGH,
  acceptBacklog: ENOUGH,
  maxConnections: ENOUGH,
  maxPending: ENOUGH,
  connectionMemory: 2 ** 40,
};
const transport = tcpTransport({
  hostKey: generateHostKey(),
  secureChannels: ['noise'],
  muxers: [muxer],
  limits,
});
const open = { streams: 0, connections: 0 };

const echo = async (stream: Stream): Promise<void> => {
  open.streams++;
  for (let chunk = await stream.read(); chunk !== null; chunk = await stream.read()) {
    await writeAll(stream, chunk);
  }
  stream.closeWrite();
  open.streams--;
};

const serve = async (connection: TransportConnection): Promise<void> => {
  open.connections++;
  connection.closed.then(() => open.connections--);
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    echo(stream).catch(fail);
  }
};

const fail = (error: unknown): void => {
  console.error(error);
  process.exit(1);
};

const MESSAGE = new Uint8Array(32);

/** A stream that has echoed once. */
const openStream = async (connection: TransportConnection): Promise<Stream> => {
  const stream = await connection.openStream();
  stream.write(MESSAGE);
  await readExactly(stream, MESSAGE.length);
  open.streams++;
  return stream;
};

const closeStream = async (stream: Stream): Promise<void> => {
  stream.closeWrite();
  while ((await stream.read()) !== null);
  open.streams--;
};

/** A connection on which a stream has echoed once. */
const openConnection = async (): Promise<TransportConnection> => {
  const signal = AbortSignal.timeout(30_000);
  const connection = await transport.dial(multiaddr(address), { expectedPeer: undefined, signal });
  await closeStream(await openStream(connection));
  open.connections++;
  return connection;
};

const streams: Stream[] = [];
const connections: TransportConnection[] = [];

const openMore = async (count: number, over: TransportConnection | undefined): Promise<void> => {
  if (over !== undefined) {
    const opening = Array.from({ length: count }, () => openStream(over));
    streams.push(...(await Promise.all(opening)));
    return;
  }
  for (let left = count; left > 0; left -= PARALLEL) {
    const opening = Array.from({ length: Math.min(PARALLEL, left) }, openConnection);
    connections.push(...(await Promise.all(opening)));
  }
};

const closeAll = async (): Promise<void> => {
  await Promise.all(streams.splice(0).map(closeStream));
  open.connections -= connections.length;
  await Promise.all(connections.splice(0).map((connection) => connection.close()));
};

/** In V8's heap, and in buffers outside it. */
const bytesInUse = (): number => {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

let over: TransportConnection | undefined;
if (role === 'listen') {
  const listener = await transport.listen(multiaddr('/ip4/127.0.0.1/tcp/0'), {
    onConnection: (connection) => void serve(connection).catch(fail),
    onRefused: fail,
  });
  console.log(String(listener.address));
} else {
  if (what === 'streams') {
    const signal = AbortSignal.timeout(30_000);
    over = await transport.dial(multiaddr(address), { expectedPeer: undefined, signal });
  }
  for (let left = WARM_UP[what]; left > 0; left -= 100) {
    await openMore(100, over);
    await closeAll();
  }
  console.log('ready');
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, count = '0'] = line.split(' ');
  if (command === 'open') {
    const began = performance.now();
    await openMore(Number(count), over);
    console.log(performance.now() - began);
  } else if (command === 'memory') {
    while (open[what] !== Number(count)) await delay(1);
    // Whatever has just ended is released by then.
    await delay(10);
    console.log(bytesInUse());
  } else {
    await closeAll();
    console.log('closed');
  }
}
process.exit(0);
