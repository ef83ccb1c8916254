/**
 * One side of bench/js-libp2p.ts, told what to do over the IPC channel of `fork()`:
 *
 *     node bench/js-libp2p/peer.ts lean|chainsafe|plain
 */

import { type BenchConnection, STACK_NAMES, startNode } from './stacks.ts';

export type Request =
  | { readonly do: 'address' | 'usage' | 'warm' }
  | { readonly do: 'cold'; readonly address: string }
  | { readonly do: 'handshakes'; readonly address: string; readonly count: number }
  | { readonly do: 'hold'; readonly address: string; readonly count: number }
  | { readonly do: 'upload' | 'download'; readonly bytes: number; readonly streams: number };

/** Milliseconds, CPU seconds so far, bytes of memory. */
export interface Usage {
  readonly cpu: number;
  readonly rss: number;
}

const name = STACK_NAMES.find((it) => it === process.argv[2]);
if (name === undefined) throw new Error(`usage: peer.ts ${STACK_NAMES.join('|')}`);
const node = await startNode[name]();
let connection: BenchConnection | undefined;
const held: BenchConnection[] = [];

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
      return held.length;
    case 'upload':
    case 'download': {
      const { streams, bytes } = request;
      return timed(() =>
        Promise.all(
          Array.from({ length: streams }, () => connection?.[request.do](bytes / streams)),
        ),
      );
    }
    case 'warm':
      return undefined;
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
