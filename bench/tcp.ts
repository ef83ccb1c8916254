/**
 * Handshake plus one round trip, and the throughput of one stream, of every combination over TCP and
 * WebSocket, beside js-libp2p's own for the same combination: dialer and listener are two processes,
 * the two stacks take turns, medians are compared. Prints one JSON object per combination on stdout
 * and a table on stderr.
 *
 *     node bench/tcp.ts [--rounds 15] [--mib 64] [--uploads 5] [combination prefix, e.g. tcp/noise]
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Combination, startPeer } from './tcp-stacks.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '15' },
    mib: { type: 'string', default: '64' },
    uploads: { type: 'string', default: '5' },
  },
});
const rounds = Number(values.rounds);
const bytes = Number(values.mib) << 20;
const uploads = Number(values.uploads);
const prefix = positionals[0] ?? '';
const peerScript = fileURLToPath(new URL('./tcp-peer.ts', import.meta.url));
// js-libp2p dials wss with the global WebSocket, which can only be told so.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};

/** The dialer in this process and its listener in another. */
const startStack = async (combination: Combination) => {
  const { stack, kind, secure, muxer } = combination;
  const child = fork(peerScript, [stack, kind, secure, muxer], {
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  if (child.stdout === null) throw new Error('no stdout');
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const target = String(line).trim();
  const dialer = await startPeer(combination, false);
  return {
    handshake: () => dialer.handshake(target),
    upload: () => dialer.upload(target, bytes),
    stop: async () => {
      await dialer.stop();
      child.kill();
    },
  };
};

const results: string[] = [];
for (const kind of ['tcp', 'ws', 'wss']) {
  for (const secure of ['noise', 'tls']) {
    for (const muxer of ['yamux', 'mplex']) {
      const name = `${kind}/${secure}/${muxer}`;
      if (!name.startsWith(prefix)) continue;
      const stacks = await Promise.all(
        ['ours', 'js'].map((stack) => startStack({ stack, kind, secure, muxer })),
      );
      const times = stacks.map(() => ({ handshake: [] as number[], upload: [] as number[] }));
      for (const stack of stacks) for (let i = 0; i < 5; i++) await stack.handshake();
      for (let i = 0; i < rounds; i++) {
        for (const [s, stack] of stacks.entries())
          times[s]?.handshake.push(await stack.handshake());
      }
      for (const stack of stacks) await stack.upload();
      for (let i = 0; i < uploads; i++) {
        for (const [s, stack] of stacks.entries()) times[s]?.upload.push(await stack.upload());
      }
      for (const stack of stacks) await stack.stop();
      const [ours, js] = times.map(({ handshake, upload }) => ({
        handshakeMs: median(handshake),
        gbitPerSecond: (bytes * 8) / median(upload) / 1e6,
      }));
      if (ours === undefined || js === undefined) throw new Error('no results');
      const handshakeRatio = ours.handshakeMs / js.handshakeMs;
      const throughputRatio = ours.gbitPerSecond / js.gbitPerSecond;
      process.stdout.write(
        `${JSON.stringify({ name, ours, js, handshakeRatio, throughputRatio })}\n`,
      );
      results.push(
        `${name.padEnd(16)} handshake ${ours.handshakeMs.toFixed(2)} / ${js.handshakeMs.toFixed(2)} ms` +
          ` = ${handshakeRatio.toFixed(2)}   throughput ${ours.gbitPerSecond.toFixed(2)} /` +
          ` ${js.gbitPerSecond.toFixed(2)} Gbit/s = ${throughputRatio.toFixed(2)}`,
      );
    }
  }
}
process.stderr.write(`${results.join('\n')}\n`);
