/** Determines how each implementation is run here, or why it cannot be. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../src/errors.ts';
import { printable } from '../../src/printable.ts';
import { type BuiltPeer, buildPeers } from '../build-peers.ts';
import { run } from './command.ts';
import type { Participant } from './executors.ts';
import type { Implementation } from './images.ts';
import { type Package, packageOf } from './package.ts';
import { peerImage } from './peer-image.ts';

/** The checkout: `path` and `./` of the capability file are relative to it. */
export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url));

export interface Resolved {
  readonly participants: ReadonlyMap<string, Participant>;
  readonly versions: ReadonlyMap<string, string>;
  /** Why an implementation does not take part, by its id. */
  readonly skipped: ReadonlyMap<string, string>;
}

/**
 * Resolves `implementations` for `exec`, and builds those that have to be built. A peer that cannot be run
 * is skipped.
 *
 * @throws MatrixError when our own participant cannot be built
 */
export const resolveParticipants = async (
  implementations: readonly Implementation[],
  exec: 'process' | 'docker',
  dialect: 'unified' | 'legacy',
): Promise<Resolved> => {
  const participants = new Map<string, Participant>();
  const versions = new Map<string, string>();
  const skipped = new Map<string, string>();
  const toBuild: Implementation[] = [];
  let ours: Promise<Package> | undefined;
  for (const implementation of implementations) {
    const { id, env, image, command } = implementation;
    const unset = implementation.requiresEnv.filter((name) => !process.env[name]);
    const missing = implementation.requiresFiles.find((file) => !existsSync(join(ROOT, file)));
    if (unset.length > 0) skipped.set(id, `${unset.join(', ')} is not set`);
    else if (implementation.legacy && dialect !== 'legacy') {
      skipped.set(id, 'it speaks the legacy dialect only; run it with --dialect legacy');
    } else if (exec === 'docker' && image !== undefined) {
      if (await imageThere(image)) participants.set(id, { id, command: [], image, env });
      else skipped.set(id, `there is no image ${image} here; \`make docker\` builds ours`);
    } else if (exec === 'docker' && implementation.path === undefined) {
      skipped.set(id, 'it has no container image');
    } else if (missing !== undefined) {
      skipped.set(id, `there is no ${missing} in this checkout; \`make install\` says why`);
    } else if (command !== undefined) {
      let root = ROOT;
      if (implementation.package) {
        ours ??= packageOf(ROOT);
        const built = await ours;
        root = built.root;
        versions.set(id, built.version);
      }
      const words = command.map((word) => (word.startsWith('./') ? join(root, word) : word));
      participants.set(id, { id, command: words, image, env });
    } else if (implementation.path !== undefined) toBuild.push(implementation);
    else skipped.set(id, 'the capability file gives it neither path nor command');
  }
  if (toBuild.length > 0) {
    const built = await build(toBuild.map(({ id }) => id));
    for (const { id, env, image } of toBuild) {
      const peer = built.get(id);
      if (peer === undefined) skipped.set(id, 'interop/build-peers.ts does not know it');
      else if ('skipped' in peer) skipped.set(id, peer.skipped);
      else {
        const made = exec === 'docker' ? await peerImage(peer) : image;
        if (typeof made === 'object') {
          skipped.set(id, made.skipped);
          continue;
        }
        participants.set(id, { id, command: peer.command, image: made, env });
        versions.set(id, peer.version);
      }
    }
  }
  return { participants, versions, skipped };
};

const imageThere = async (image: string): Promise<boolean> =>
  (await run(['docker', 'image', 'inspect', image], 20_000)).code === 0;

const build = async (ids: readonly string[]): Promise<Map<string, BuiltPeer>> => {
  try {
    return new Map((await buildPeers(ids, say)).map((peer) => [peer.id, peer]));
  } catch (error) {
    const skipped = `the peers could not be built: ${messageOf(error)}`;
    return new Map(ids.map((id) => [id, { id, skipped, broken: true }]));
  }
};

/** Without the builder's own "skipped" lines: the run itself prints one for each implementation. */
const say = (line: string): void => {
  if (!line.startsWith('skipped ')) process.stderr.write(`${printable(line)}\n`);
};
