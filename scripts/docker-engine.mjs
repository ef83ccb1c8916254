// The Docker engine, and the images that this checkout builds.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Target of the Dockerfile → the name its image gets. */
export const IMAGES = { quiche: 'libp2p-lean', 'node-quic': 'libp2p-lean:node-quic' };

const succeeds = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

/**
 * Whether a Docker engine answers; where none does, `../shared/docker-up` is asked to start one, if
 * there is such a file.
 */
export const engineRuns = () => {
  if (succeeds('docker', 'info')) return true;
  const up = path.join(root, '../shared/docker-up');
  if (!existsSync(up)) return false;
  console.error('docker: no engine answers; ../shared/docker-up starts one');
  return spawnSync(up, { stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
};

export const imageExists = (name) => succeeds('docker', 'image', 'inspect', name);

/** Runs the docker command and returns its stdout, trimmed. @throws with what it said on stderr. */
export const docker = (...args) => {
  try {
    return execFileSync('docker', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  } catch (error) {
    throw new Error(`docker ${args.join(' ')}: ${String(error.stderr).trim()}`);
  }
};

const hasBuildKit = () => succeeds('docker', 'buildx', 'version');

/** @throws when the build fails; its output goes to this process's stderr. */
export const build = (target, buildArgs = {}) => {
  const args = Object.entries(buildArgs).flatMap(([name, value]) => [
    '--build-arg',
    `${name}=${value}`,
  ]);
  // The old builder leaves the container of a failed step behind unless told otherwise.
  const old = hasBuildKit() ? undefined : { flags: ['--force-rm'], env: { DOCKER_BUILDKIT: '0' } };
  const { status } = spawnSync(
    'docker',
    ['build', ...(old?.flags ?? []), '--target', target, '--tag', IMAGES[target], ...args, '.'],
    { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, ...old?.env } },
  );
  if (status !== 0) throw new Error(`docker build --target ${target} failed`);
};
