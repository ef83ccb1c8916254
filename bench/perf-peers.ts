/**
 * The perf peers as commands and as running processes: interop/perf-peers/README.md says what they are
 * and how they are driven. What this machine cannot build or run is skipped with one line.
 */

import { type ChildProcess, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { cacheFolder } from '../interop/build-peers.ts';
import { printable } from '../src/printable.ts';
import { lackOfQuinn } from '../src/quic/quinn/binding.ts';
import { nodeQuic, nodeQuicFlags, ROOT } from './support/participants.ts';
import { type Command, end, lines, start } from './support/processes.ts';

export type Transport = 'quic-v1' | 'tcp' | 'udp';

export interface PerfPeer extends Command {
  readonly name: string;
  /** Whether it is this project. */
  readonly ours: boolean;
  readonly transports: readonly Transport[];
  /** The address it listens on, if not 127.0.0.1. */
  readonly host?: string;
  /** What both sides run in place of the bare transport, such as `wss/tls/mplex`. */
  readonly stack?: string;
  /** The name of the peer of this checkout that this one, of another checkout, is compared with. */
  readonly before?: string;
}

const PEERS = 'interop/perf-peers';

export const jsPeer: PerfPeer = {
  name: 'js-libp2p',
  ours: false,
  transports: ['quic-v1', 'tcp'],
  file: process.execPath,
  args: [path.join(ROOT, PEERS, 'js-libp2p/main.mjs')],
};

/** Ours over TCP. */
export const leanTcpPeer: PerfPeer = {
  name: 'libp2p-lean',
  ours: true,
  transports: ['tcp'],
  file: process.execPath,
  args: [path.join(ROOT, PEERS, 'libp2p-lean/main.ts')],
};

/**
 * Every peer whose name `select` takes; builds what has to be built. The tools keep their own caches: a
 * second time takes a second.
 *
 * @param before another checkout of this project, with its node_modules
 */
export const perfPeers = (select: (name: string) => boolean, before?: string): PerfPeer[] => [
  ...leanPeers()
    .filter(({ name }) => select(name))
    .flatMap((peer) => (before === undefined ? [peer] : [peer, ofCheckout(before, peer)])),
  ...(select('go-libp2p') ? goPeer() : []),
  ...(select('rust-libp2p') ? rustPeer() : []),
  ...(select(jsPeer.name) ? [jsPeer] : []),
];

/** Ours: each engine, and TCP with Noise and yamux. */
export const leanPeers = (): PerfPeer[] => {
  const addresses = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
  const outside = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  const quiche: PerfPeer = {
    ...leanTcpPeer,
    name: 'libp2p-lean (quiche)',
    transports: ['quic-v1'],
    env: { QUIC_ENGINE: 'quiche' },
  };
  // As over Ethernet: at loopback addresses datagrams are longer (docs/performance.md).
  const ethernet: PerfPeer[] =
    outside === undefined
      ? []
      : [{ ...quiche, name: 'libp2p-lean (quiche, 1350 bytes)', host: outside }];
  const quinn: PerfPeer[] = [];
  if (lackOfQuinn() === undefined) {
    quinn.push({ ...quiche, name: 'libp2p-lean (quinn)', env: { QUIC_ENGINE: 'quinn' } });
  } else say(`skipped: libp2p-lean (quinn): ${lackOfQuinn()}`);
  const quic = nodeQuic();
  if (quic === undefined) {
    say('skipped: libp2p-lean (node:quic): NODE_QUIC names no Node.js that has it');
    return [...quinn, quiche, ...ethernet, leanTcpPeer];
  }
  const node: PerfPeer = {
    ...quiche,
    name: 'libp2p-lean (node:quic)',
    file: quic,
    args: [...nodeQuicFlags(), ...quiche.args],
    env: { QUIC_ENGINE: 'node' },
  };
  return [...quinn, quiche, ...ethernet, node, leanTcpPeer];
};

/** The same peer, from the sources of another checkout, whose perf peer is driven in the same way. */
const ofCheckout = (checkout: string, peer: PerfPeer): PerfPeer => ({
  ...peer,
  name: `${peer.name}, before`,
  before: peer.name,
  args: peer.args.map((word) =>
    word.startsWith(ROOT) ? path.join(checkout, path.relative(ROOT, word)) : word,
  ),
});

const goPeer = (): PerfPeer[] => {
  const out = path.join(cacheFolder(), 'build/perf-go-libp2p');
  return built('go-libp2p', out, ['go', 'build', '-trimpath', '-buildvcs=false', '-o', out, '.']);
};

const rustPeer = (): PerfPeer[] => {
  // The target folder is shared with the peers of the matrix, and so are most dependencies.
  const target = path.join(cacheFolder(), 'build/rust');
  const out = path.join(target, 'release/rust-libp2p-perf-peer');
  const command = ['cargo', 'build', '--release', '--locked', '--quiet'];
  return built('rust-libp2p', out, command, { CARGO_TARGET_DIR: target });
};

const built = (
  name: string,
  out: string,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): PerfPeer[] => {
  say(`building ${name}`);
  mkdirSync(path.dirname(out), { recursive: true });
  const { status, error, stderr } = spawnSync('nice', ['-n', '10', ...command], {
    cwd: path.join(ROOT, PEERS, name),
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  if (status !== 0) {
    const why = printable(error?.message ?? stderr.trim().split('\n').at(-1) ?? '');
    say(`skipped: ${name}: ${command[0]} ${command[1]} failed: ${why}`);
    return [];
  }
  return [{ name, ours: false, transports: ['quic-v1', 'tcp'], file: out, args: [] }];
};

/** `node:net` and `node:dgram` themselves: an upper bound for what is built on them. */
export const RAW_SOCKETS: readonly PerfPeer[] = (['tcp', 'udp'] as const).map((transport) => ({
  name: transport === 'tcp' ? 'node:net' : 'node:dgram',
  ours: false,
  transports: [transport],
  file: process.execPath,
  args: [path.join(ROOT, 'bench/raw-sockets.ts')],
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
  const host = peer.host === undefined ? [] : [peer.host];
  const command = withWords(peer, 'listen', peer.stack ?? transport, ...host);
  const child = start(command);
  const address = await lines(child, command)();
  return { peer, address, pid: pidOf(child), end: () => end(child, 'end of stdin') };
};

export const startDialer = (peer: PerfPeer, listener: RunningListener): RunningDialer => {
  const stack = peer.stack === undefined ? [] : [peer.stack];
  const command = withWords(peer, 'dial', listener.address, ...stack);
  const child = start(command);
  const next = lines(child, command);
  return {
    peer,
    pid: pidOf(child),
    end: () => end(child, 'end of stdin'),
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
