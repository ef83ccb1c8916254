/**
 * A hostile client, a process of its own: opens as many ping streams as it gets, writes as much as it
 * can and does not read the answers.
 *
 *     node test/support/stalling-client.ts <address> <quic|yamux|mplex> <streams> [<bytes>]
 *
 * It opens at most so many streams in all. Given a number of bytes, it behaves on each stream until so
 * many have come back, so that windows have grown by then. Says on stdout, as JSON, one line each: at the
 * first stream that the listener reset with which code (`reset`), and why it ended the connection
 * (`closed`). Runs until then, or until its stdin ends.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { endWithParent } from '../../interop/end-with-parent.ts';
import { createNode } from '../../src/node/node.ts';
import { PING } from '../../src/protocols/ping.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import type { TransportFactory } from '../../src/transports/transport.ts';

const [address = '', stack = '', mostStreams = '', readFirst = '0'] = process.argv.slice(2);

const CHUNK = 8 * 1024;

const lavish = { connectionMemory: 2 ** 40, stallTimeout: 2 ** 30 };
const lavishQuic = { ...lavish, streamWindow: 1 << 20, connectionWindow: 8 << 20 };
// mplex has no windows: its end of the connection stops reading.
const lavishMux = { ...lavish, streamBuffer: 1, slowReaderTimeout: 2 ** 30 };

endWithParent();

const transportOf = (): TransportFactory => {
  if (stack === 'quic') return quic({ engine: 'quiche', limits: lavishQuic });
  if (stack !== 'yamux' && stack !== 'mplex') throw new Error(`unknown stack ${stack}`);
  return tcp({ secureChannels: ['noise'], muxers: [stack], limits: lavishMux });
};

const node = await createNode({ transports: [transportOf()] });
const connection = await node.dial(address);
const say = (what: object, then?: () => void): void =>
  void process.stdout.write(`${JSON.stringify(what)}\n`, then);
connection.closed.then((closed) => say({ closed }, () => process.exit(0)));

let toldOfReset = false;
const onFailure = (error: unknown): void => {
  if (!(error instanceof StreamResetError) || toldOfReset) return;
  toldOfReset = true;
  say({ reset: error.resetCode });
};

const flood = async (stream: Stream): Promise<void> => {
  let toRead = Number(readFirst);
  for (;;) {
    const room = stream.write(new Uint8Array(CHUNK));
    for (let read = 0; toRead > 0 && read < CHUNK; ) {
      const chunk = await stream.read();
      if (chunk === null) return;
      read += chunk.length;
      toRead -= chunk.length;
    }
    if (!room) await stream.drain();
    await nextTurn();
  }
};

const open = async (): Promise<void> => {
  for (let streams = 1; streams <= Number(mostStreams); streams++) {
    flood(await connection.newStream(PING)).catch(onFailure);
    if (streams % 8 === 0) await nextTurn();
  }
};
open().catch(() => {});
