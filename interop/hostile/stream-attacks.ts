/** Attacks by streams, over QUIC and over yamux alike. */
import { setTimeout as delay } from 'node:timers/promises';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { PERF } from '../../src/protocols/perf.ts';
import { PING } from '../../src/protocols/ping.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import type { Target } from './attack.ts';

/** Limits of the attacker's own node, raised. */
const LAVISH = { connectionMemory: 2 ** 40, stallTimeout: 2 ** 30 };
const LAVISH_QUIC = { ...LAVISH, streamWindow: 1 << 20, connectionWindow: 8 << 20 };

const lavishNode = (layer: 'quic' | 'tcp'): Promise<LeanNode> =>
  createNode({
    limits: LAVISH,
    transports: [
      layer === 'quic'
        ? quic({ engine: 'quiche', limits: LAVISH_QUIC })
        : tcp({ secureChannels: ['noise'], muxers: ['yamux'], limits: LAVISH }),
    ],
  });

const CONNECTIONS = 4;
const STREAMS = 1_100;
const CHUNK = new Uint8Array(8 * 1_024);

/** Connections that write to ping streams as much as they can, and never read. */
export const neverRead = async (target: Target, layer: 'quic' | 'tcp'): Promise<void> => {
  const node = await lavishNode(layer);
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const connection = await node.dial(target.multiaddr, { force: true });
      target.count('connections');
      for (let n = 0; n < STREAMS; n++) {
        const stream = await connection.newStream(PING);
        target.count('streams');
        const flood = async (): Promise<void> => {
          for (;;) {
            if (!stream.write(CHUNK)) await stream.drain();
            target.count('KiB', CHUNK.length / 1_024);
            await delay(1);
          }
        };
        flood().catch(() => target.count('streams reset'));
      }
    }),
  );
};

/** Perf requests for 2^63 bytes, whose answers are not read. */
export const requestForever = async (target: Target, layer: 'quic' | 'tcp'): Promise<void> => {
  const node = await lavishNode(layer);
  const request = Buffer.alloc(8);
  request.writeBigUInt64BE(2n ** 63n);
  for (let n = 0; n < 8; n++) {
    const connection = await node.dial(target.multiaddr, { force: true });
    const stream = await connection.newStream(PERF);
    stream.write(request);
    stream.closeWrite();
    target.count('requests');
  }
};
