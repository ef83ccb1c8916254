/**
 * The contestants as commands: our participant as its container runs it (package layout, bundle,
 * filled compile cache), once per QUIC engine, and js-libp2p's.
 */

import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, run } from './processes.ts';

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

/** What is put in a container image, in a directory that goes with this process. */
const layOut = (): string => {
  const image = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-bench-'));
  process.once('exit', () => rmSync(image, { recursive: true, force: true }));
  for (const part of ['bin', 'dist', 'package.json']) {
    cpSync(path.join(ROOT, part), path.join(image, part), { recursive: true });
  }
  mkdirSync(path.join(image, 'dist/.compile-cache'));
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(image, 'node_modules'));
  return image;
};

/** Fills the code cache as the Dockerfile does. */
const warm = async (participant: Participant): Promise<Participant> => {
  const { file, args, env = {} } = participant;
  const [launcher = '', ...flags] = args.toReversed();
  await run({ file, args: [...flags, path.join(ROOT, 'scripts/docker-warm.mjs'), launcher], env });
  return participant;
};

/** Ours first, js-libp2p's last; its compile cache fills in the warm-up rounds. */
export const participants = async (): Promise<Participant[]> => {
  const image = layOut();
  const launcher = path.join(image, 'bin/libp2p-lean');
  const quiche: Participant = {
    name: 'libp2p-lean, quiche',
    file: process.execPath,
    args: [launcher],
    env: { QUIC_ENGINE: 'quiche' },
  };
  const ours = [await warm(quiche)];
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

/** Without a compile cache. */
export const JS_LIBP2P: Participant = {
  name: 'js-libp2p, quinn',
  file: process.execPath,
  args: [path.join(ROOT, 'bench/js-libp2p.mjs')],
};

export const isJsLibp2p = ({ name }: { readonly name: string }): boolean => name === JS_LIBP2P.name;
