/**
 * Participants of the harness as commands: ours as its container runs it (package layout, bundle,
 * filled compile cache), once for each QUIC engine, and js-libp2p's.
 */

import type { ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { RedisServer } from '../../interop/redis-server.ts';
import { lackOfQuinn } from '../../src/quic/quinn/binding.ts';
import { type Command, run, start, within } from './processes.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const QUIC_FLAGS = ['--experimental-quic', '--disable-warning=ExperimentalWarning'];

export interface Participant extends Command {
  readonly name: string;
}

/** A Node.js with `node:quic`, where this machine has one. */
export const nodeQuic = (): string | undefined => {
  const file = process.env.NODE_QUIC;
  return file !== undefined && existsSync(file) ? file : undefined;
};

export const nodeQuicFlags = (): readonly string[] => QUIC_FLAGS;

/** Only where there is cargo. */
const QUINN = 'native/quinn.node';

/** Lays out what a container image holds, in a folder that is removed when this process ends. */
const layOut = (): string => {
  const image = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-bench-'));
  process.once('exit', () => rmSync(image, { recursive: true, force: true }));
  const quinn = existsSync(path.join(ROOT, QUINN)) ? [QUINN] : [];
  for (const part of ['bin', 'dist', 'package.json', ...quinn]) {
    cpSync(path.join(ROOT, part), path.join(image, part), { recursive: true });
  }
  mkdirSync(path.join(image, 'dist/.compile-cache'));
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(image, 'node_modules'));
  return image;
};

/** Fills the compile cache as the Dockerfile does. */
const warm = async (participant: Participant): Promise<Participant> => {
  const { file, args, env = {} } = participant;
  const [launcher = '', ...flags] = args.toReversed();
  await run({ file, args: [...flags, path.join(ROOT, 'scripts/image/warm.mjs'), launcher], env });
  return participant;
};

/** Ours first, js-libp2p last, whose compile cache fills in the warm-up rounds. */
export const participants = async (): Promise<Participant[]> => {
  const image = layOut();
  const launcher = path.join(image, 'bin/libp2p-lean');
  const on = (engine: string): Participant => ({
    name: `libp2p-lean, ${engine}`,
    file: process.execPath,
    args: [launcher],
    env: { QUIC_ENGINE: engine },
  });
  const ours: Participant[] = [];
  if (lackOfQuinn() === undefined) ours.push(await warm(on('quinn')));
  else process.stderr.write(`skipped: ${lackOfQuinn()}\n`);
  ours.push(await warm(on('quiche')));
  const quic = nodeQuic();
  if (quic === undefined) {
    process.stderr.write('skipped: node:quic (NODE_QUIC names no Node.js that has it)\n');
  } else {
    ours.push(
      await warm({
        name: 'libp2p-lean, node:quic',
        file: quic,
        args: [...QUIC_FLAGS, launcher],
        env: { QUIC_ENGINE: 'node' },
      }),
    );
  }
  const cache = { NODE_COMPILE_CACHE: path.join(image, 'js-libp2p') };
  return [...ours, { ...JS_LIBP2P, env: cache }];
};

/** The matrix's peer, on the project's development dependencies; without a compile cache. */
export const JS_LIBP2P: Participant = {
  name: 'js-libp2p, quinn',
  file: process.execPath,
  args: [path.join(ROOT, 'interop/peers/js-libp2p/v3.x/main.mjs')],
};

export const isJsLibp2p = ({ name }: { readonly name: string }): boolean => name === JS_LIBP2P.name;

/** A listener that has published its address. */
export interface PublishedListener {
  readonly child: ChildProcess;
  readonly address: string;
  /** From its start until the address was in Redis, ms. */
  readonly ms: number;
}

/**
 * Starts a QUIC listener on 127.0.0.1 and waits until its address is in Redis.
 *
 * @param key TEST_KEY; another one for each listener
 */
export const startPublished = async (
  listener: Command,
  redis: RedisServer,
  key: string,
): Promise<PublishedListener> => {
  const published = redis.send('BLPOP', `${key}_listener_multiaddr`, '60');
  const began = performance.now();
  const child = start(listener, {
    IS_DIALER: 'false',
    TRANSPORT: 'quic-v1',
    LISTENER_IP: '127.0.0.1',
    REDIS_ADDR: redis.address,
    TEST_KEY: key,
  });
  const reply = await within(published, listener);
  const ms = performance.now() - began;
  const address = /\/ip4\/\S+\/quic-v1\S*/.exec(reply)?.[0];
  if (address === undefined) throw new Error(`${key} held ${JSON.stringify(reply)}`);
  return { child, address, ms };
};
