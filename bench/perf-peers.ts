/**
 * The contestants of `make bench-perf`: interop/perf-peers/README.md says what they are and how they
 * are driven. What this machine cannot build or run is skipped with a line.
 */

import { type ChildProcess, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { cacheFolder } from '../interop/build-peers.ts';
import { printable } from '../src/printable.ts';
import { nodeQuic, nodeQuicFlags, ROOT } from './support/participants.ts';
import { type Command, end, lines, start } from './support/processes.ts';

export type Transport = 'quic-v1' | 'tcp' | 'udp';

export interface PerfPeer extends Command {
  readonly name: string;
  /** What is compared: this project, or another implementation. */
  readonly ours: boolean;
  readonly transports: readonly Transport[];
  /** The address it listens on; 127.0.0.1. */
  readonly host?: string;
}

const PEERS = path.join(ROOT, 'interop/perf-peers');

/** Builds what has to be built. The tools keep their own caches: a second time takes a second. */
export const perfPeers = (): PerfPeer[] => [
  ...leanPeers(),
  ...built('go-libp2p', 'go', (out) => ({
    args: ['build', '-trimpath', '-buildvcs=false', '-o', out, '.'],
    env: {},
  })),
  ...built('rust-libp2p', 'cargo', (out) => ({
    args: ['build', '--release', '--locked', '--quiet'],
    // Shared with the peers of the interop matrix, and so are most dependencies.
    env: { CARGO_TARGET_DIR: path.dirname(path.dirname(out)) },
  })),
  {
    name: 'js-libp2p',
    ours: false,
    transports: ['quic-v1', 'tcp'],
    file: process.execPath,
    args: [path.join(PEERS, 'js-libp2p/main.mjs')],
  },
];

/** Ours: each engine, and TCP with Noise and yamux. */
export const leanPeers = (): PerfPeer[] => {
  const addresses = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
  const outside = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  const main = path.join(PEERS, 'libp2p-lean/main.ts');
  const quiche: PerfPeer = {
    name: 'libp2p-lean (quiche)',
    ours: true,
    transports: ['quic-v1'],
    file: process.execPath,
    args: [main],
    env: { QUIC_ENGINE: 'quiche' },
  };
  // As over Ethernet: at loopback addresses datagrams are longer (docs/performance.md).
  const ethernet: PerfPeer[] =
    outside === undefined
      ? []
      : [{ ...quiche, name: 'libp2p-lean (quiche, 1350 bytes)', host: outside }];
  const tcp: PerfPeer = { ...quiche, name: 'libp2p-lean', transports: ['tcp'] };
  const quic = nodeQuic();
  if (quic === undefined) {
    say('skipped: libp2p-lean (node:quic): NODE_QUIC names no Node.js that has it');
    return [quiche, ...ethernet, tcp];
  }
  const node: PerfPeer = {
    ...quiche,
    name: 'libp2p-lean (node:quic)',
    file: quic,
    args: [...nodeQuicFlags(), main],
    env: { QUIC_ENGINE: 'node' },
  };
  return [quiche, ...ethernet, node, tcp];
};

type Build = (out: string) => { args: readonly string[]; env: Readonly<Record<string, string>> };

const built = (name: string, tool: 'go' | 'cargo', build: Build): PerfPeer[] => {
  const cache = path.join(cacheFolder(), 'build');
  const out =
    tool === 'go'
      ? path.join(cache, 'perf-go-libp2p')
      : path.join(cache, 'rust/release/rust-libp2p-perf-peer');
  const { args, env } = build(out);
  say(`building ${name}`);
  mkdirSync(cache, { recursive: true });
  const { status, error, stderr } = spawnSync('nice', ['-n', '10', tool, ...args], {
    cwd: path.join(PEERS, name),
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  if (status !== 0) {
    const why = printable(error?.message ?? stderr.trim().split('\n').at(-1) ?? '');
    say(`skipped: ${name}: ${tool} ${args[0]} failed: ${why}`);
    return [];
  }
  return [{ name, ours: false, transports: ['quic-v1', 'tcp'], file: out, args: [] }];
};

/** `node:net` and `node:dgram` themselves: what nothing in JavaScript can be faster than. */
export const BASELINES: readonly PerfPeer[] = (['tcp', 'udp'] as const).map((transport) => ({
  name: transport === 'tcp' ? 'node:net' : 'node:dgram',
  ours: false,
  transports: [transport],
  file: process.execPath,
  args: [path.join(ROOT, 'bench/perf-baseline.ts')],
}));

export interface Running {
  readonly peer: PerfPeer;
  readonly pid: number;
  end(): Promise<void>;
}

export interface RunningListener extends Running {
  readonly address: string;
}

export interface RunningDialer extends Running {
  /** Runs one command; what it took, ms. @throws what the peer says went wrong. */
  ask(command: string): Promise<readonly number[]>;
}

export const startListener = async (
  peer: PerfPeer,
  transport: Transport,
): Promise<RunningListener> => {
  const command = withWords(
    peer,
    'listen',
    transport,
    ...(peer.host === undefined ? [] : [peer.host]),
  );
  const child = start(command);
  const address = await lines(child, command)();
  return { peer, address, pid: pidOf(child), end: () => end(child) };
};

export const startDialer = (peer: PerfPeer, listener: RunningListener): RunningDialer => {
  const { address } = listener;
  const command = withWords(peer, 'dial', address);
  const child = start(command);
  const next = lines(child, command);
  return {
    peer,
    pid: pidOf(child),
    end: () => end(child),
    ask: async (line) => {
      child.stdin?.write(`${line}\n`);
      const { ms, error } = JSON.parse(await next());
      if (error !== undefined)
        throw new Error(`${peer.name} to ${listener.peer.name}: ${line}: ${error}`);
      return Array.isArray(ms) ? ms : [ms];
    },
  };
};

const withWords = (peer: PerfPeer, ...words: string[]): Command => ({
  file: peer.file,
  args: [...peer.args, ...words],
  ...(peer.env && { env: peer.env }),
});

const pidOf = (child: ChildProcess): number => {
  if (child.pid === undefined) throw new Error(`cannot start ${child.spawnfile}`);
  return child.pid;
};

const say = (text: string): void => void process.stderr.write(`${text}\n`);
