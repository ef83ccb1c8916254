/**
 * A container image of a peer that was built for this machine, so that `--exec docker` and the check of
 * the upstream harnesses can run other implementations, too. The build's folder has the same path in the
 * image as here; the base image is that of our own, Debian 12 with Node.js 26.
 */
import { spawn } from 'node:child_process';
import { basename, dirname, relative } from 'node:path';
import { messageOf } from '../../src/errors.ts';
import { cacheFolder, type RunnablePeer } from '../build-peers.ts';
import { run } from './command.ts';

const BASE = 'node:26-bookworm-slim';
const TIMEOUT_MS = 600_000;

/** The image's name, or why there is none. It is made once for each build of the peer. */
export const peerImage = async (
  peer: RunnablePeer,
): Promise<string | { readonly skipped: string }> => {
  const inCache = (word: string) => !relative(cacheFolder(), word).startsWith('..');
  const program = peer.command.find(inCache);
  if (program === undefined) return { skipped: `${peer.id} is not in the cache of peers` };
  const [first = ''] = relative(cacheFolder(), program).split('/');
  const folder = `${cacheFolder()}/${first}`;
  const [command = '', ...rest] = peer.command;
  if (!inCache(command) && basename(command) !== 'node') {
    return { skipped: `no image is made for a peer that runs on ${basename(command)}` };
  }
  // A Python virtual environment links to an interpreter that the image does not have.
  if (program.includes('/venv/')) return { skipped: 'no image is made for a Python peer' };
  const image = `libp2p-lean-peer:${first}`;
  if ((await run(['docker', 'image', 'inspect', image], 20_000)).code === 0) return image;
  const entry = JSON.stringify([inCache(command) ? command : 'node', ...rest]);
  const dockerfile = `FROM ${BASE}\nCOPY . ${folder}\nWORKDIR ${dirname(program)}\nENTRYPOINT ${entry}\n`;
  const failure = await build(image, folder, dockerfile);
  return failure === undefined ? image : { skipped: failure };
};

/** Resolves to a line when it fails. */
const build = (image: string, context: string, dockerfile: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    const child = spawn('docker', ['build', '-q', '-t', image, '-f', '-', context], {
      stdio: ['pipe', 'ignore', 'pipe'],
      timeout: TIMEOUT_MS,
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-4096);
    });
    child.on('error', (error) => resolve(`docker build: ${messageOf(error)}`));
    child.on('close', (code) => {
      const last = stderr.trim().split('\n').at(-1) ?? '';
      resolve(code === 0 ? undefined : `docker build failed: ${last}`);
    });
    child.stdin.on('error', () => {}); // The exit code tells.
    child.stdin.end(dockerfile);
  });
