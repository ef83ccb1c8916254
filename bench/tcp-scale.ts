/**
 * What a stream and a connection cost at 1, 100, 1,000 and 10,000 of them: milliseconds each (open,
 * one echo) and heap each while all are open, both ends in one process. One JSON object per line.
 *
 *     node --expose-gc bench/tcp-scale.ts [--max 10000]
 */

import { parseArgs } from 'node:util';
import { multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../src/connection.ts';
import { generateHostKey } from '../src/identity/keys.ts';
import type { MuxerName } from '../src/mux/muxer.ts';
import { readExactly, type Stream, writeAll } from '../src/stream.ts';
import { tcpTransport } from '../src/transports/tcp.ts';

const { values } = parseArgs({ options: { max: { type: 'string', default: '10000' } } });
const counts = [1, 100, 1_000, 10_000].filter((count) => count <= Number(values.max));
const limits = {
  maxStreams: 20_000,
  acceptBacklog: 20_000,
  maxConnections: 50_000,
  maxUpgrades: 50_000,
};
const signal = new AbortController().signal;

const serve = async (connection: Connection): Promise<void> => {
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    echo(stream).catch(() => {});
  }
};
const echo = async (stream: Stream): Promise<void> => {
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) break;
    await writeAll(stream, chunk);
  }
  stream.closeWrite();
};
const roundTrip = async (connection: Connection): Promise<Stream> => {
  const stream = await connection.openStream();
  stream.write(new Uint8Array(32));
  await readExactly(stream, 32);
  return stream;
};
/** Bytes in use, with what is outside V8's heap. */
const inUse = (): number => {
  globalThis.gc?.();
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + Math.max(external, arrayBuffers);
};

for (const muxer of ['yamux', 'mplex'] as readonly MuxerName[]) {
  const make = () =>
    tcpTransport({ hostKey: generateHostKey(), secure: ['noise'], muxers: [muxer], limits });
  const [dialer, listening] = [make(), make()];
  const listener = await listening.listen(multiaddr('/ip4/127.0.0.1/tcp/0'), {
    onConnection: (connection) => void serve(connection),
    onRefused: (error) => process.stderr.write(`refused: ${error.message}\n`),
  });
  const dial = () => dialer.dial(listener.address, { expectedPeer: undefined, signal });
  const report = (what: string, count: number, ms: number, bytes: number): void => {
    const each = { msEach: ms / count, bytesEach: Math.round(bytes / count) };
    process.stdout.write(`${JSON.stringify({ muxer, what, count, ...each })}\n`);
  };

  const connection = await dial();
  await Promise.all(Array.from({ length: 300 }, () => roundTrip(connection)));
  for (const count of counts) {
    const before = inUse();
    const start = performance.now();
    const streams = await Promise.all(Array.from({ length: count }, () => roundTrip(connection)));
    const took = performance.now() - start;
    report('streams', count, took, inUse() - before);
    for (const stream of streams) stream.closeWrite();
    await Promise.all(streams.map((stream) => stream.read()));
  }
  await connection.close();

  for (const count of counts.filter((it) => it <= 1_000)) {
    const before = inUse();
    const start = performance.now();
    const connections: Connection[] = [];
    for (let i = 0; i < count; i += 20) {
      const batch = Array.from({ length: Math.min(20, count - i) }, dial);
      connections.push(...(await Promise.all(batch)));
    }
    const took = performance.now() - start;
    report('connections', count, took, inUse() - before);
    await Promise.all(connections.map((it) => it.close()));
  }
  await listener.close();
}
