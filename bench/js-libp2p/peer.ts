/**
 * One side of bench/js-libp2p.ts, controlled over the IPC channel of `fork()`:
 *
 *     node bench/js-libp2p/peer.ts lean|chainsafe|plain
 */

import { type BenchConnection, STACK_NAMES, startNode } from './stacks.ts';

export type Request =
  | { readonly do: 'address' | 'usage' | 'resume' }
  | { readonly do: 'cold' | 'insist'; readonly address: string }
  | { readonly do: 'pause'; readonly bytes: number }
  | { readonly do: 'handshakes'; readonly address: string; readonly count: number }
  | { readonly do: 'hold'; readonly address: string; readonly count: number }
  | { readonly do: 'upload' | 'download'; readonly bytes: number; readonly streams: number };

/** Of dials that are repeated until one gets through. */
export interface Insisting {
  readonly milliseconds: number;
  readonly failed: number;
}

/** CPU seconds so far, bytes of memory. */
export interface Usage {
  readonly cpu: number;
  readonly rss: number;
}

const name = STACK_NAMES.find((it) => it === process.argv[2]);
if (name === undefined) throw new Error(`usage: peer.ts ${STACK_NAMES.join('|')}`);
const node = await startNode(name);
let connection: BenchConnection | undefined;
const held: BenchConnection[] = [];

/** Dials that fail until the last one's error is reported. */
const MAX_FAILED = 50;

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const start = performance.now();
  await work();
  return performance.now() - start;
};

const dialOnce = async (address: string): Promise<BenchConnection> => {
  const made = await node.dial(address);
  await made.echo();
  return made;
};

const answer = async (request: Request): Promise<unknown> => {
  switch (request.do) {
    case 'address':
      return node.address;
    case 'usage': {
      globalThis.gc?.();
      const { user, system } = process.cpuUsage();
      return { cpu: (user + system) / 1e6, rss: process.memoryUsage.rss() } satisfies Usage;
    }
    case 'cold':
      return timed(async () => {
        connection = await dialOnce(request.address);
      });
    case 'handshakes': {
      const times: number[] = [];
      for (let i = 0; i < request.count; i++) {
        let made: BenchConnection | undefined;
        times.push(
          await timed(async () => {
            made = await dialOnce(request.address);
          }),
        );
        await made?.close();
      }
      return times;
    }
    case 'hold':
      for (let i = 0; i < request.count; i++) held.push(await dialOnce(request.address));
      return held.filter((it) => it.isOpen).length;
    case 'upload':
    case 'download': {
      const { streams, bytes } = request;
      return timed(() =>
        Promise.all(
          Array.from({ length: streams }, () => connection?.[request.do](bytes / streams)),
        ),
      );
    }
    case 'insist': {
      let failed = 0;
      const milliseconds = await timed(async () => {
        for (connection = undefined; connection === undefined; ) {
          try {
            connection = await dialOnce(request.address);
          } catch (error) {
            failed++;
            if (failed === MAX_FAILED) throw error;
          }
        }
      });
      return { milliseconds, failed } satisfies Insisting;
    }
    case 'pause':
      return connection?.sendToPaused?.(request.bytes);
    case 'resume':
      return node.resumePaused?.();
  }
};

process.on('message', (request: Request) => {
  answer(request).then(
    (value) => process.send?.({ value }),
    (error) => process.send?.({ error: String(error?.stack ?? error) }),
  );
});
process.on('disconnect', () => process.exit(0));
process.send?.({ value: 'ready' });
