/** Datagrams with a forged source address, through forge.py, as Node.js has no raw sockets. */

import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SocketAddress } from '../../src/socket-address.ts';
import { inbox } from './quic-helpers.ts';

const script = fileURLToPath(new URL('./forge.py', import.meta.url));

const whyNot = (): string | false => {
  if (process.platform !== 'linux') return 'forged sources: only tried on Linux';
  if (process.getuid?.() !== 0) return 'forged sources take root';
  const { status } = spawnSync('python3', ['-c', 'import socket']);
  return status === 0 ? false : 'forged sources take python3';
};

/** Why source addresses cannot be forged here, or `false`: the `skip` of a test. */
export const noForging: string | false = whyNot();

/** Sends `payload` to `target` as if from `source`. @throws when the kernel refuses. */
export type Forge = (
  source: SocketAddress,
  target: SocketAddress,
  payload: Uint8Array,
) => Promise<void>;

export const forger = (t: TestContext): Forge => {
  const child = spawn('python3', [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  child.unref();
  const answers = inbox<string>();
  createInterface(child.stdout).on('line', answers.push);
  return async (source, target, payload) => {
    const hex = Buffer.from(payload).toString('hex');
    child.stdin.write(`${source.host} ${source.port} ${target.host} ${target.port} ${hex}\n`);
    const answer = await answers.next();
    if (answer !== 'ok') throw new Error(`cannot forge ${source.host}: ${answer}`);
  };
};
