/**
 * Runs a program in network, mount and process namespaces of its own. The namespaces of the laboratory are made
 * in there: the kernel removes them with the last process, even after `kill -9`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { onPath } from '../on-path.ts';
import { noRedis } from '../redis-server.ts';

/** Set for the process in the namespaces. */
const INSIDE = 'LIBP2P_LEAN_NAT_LABORATORY';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const TOOLS: readonly (readonly [command: string, packageName: string])[] = [
  ['ip', 'iproute2'],
  ['nft', 'nftables'],
  ['unshare', 'util-linux'],
  ['setpriv', 'util-linux'],
];

/** Why no laboratory can be made here, in one line, or undefined. */
export const lackOfLaboratory = (): string | undefined => {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux';
  const missing = TOOLS.filter(([command]) => !onPath(command));
  if (missing.length > 0) {
    const [commands, packages] = [0, 1].map((part) => [
      ...new Set(missing.map((tool) => tool[part])),
    ]);
    return `${commands?.join(', ')} not on PATH (Debian: apt-get install ${packages?.join(' ')})`;
  }
  if (noRedis !== false) return noRedis;
  if (process.getuid?.() !== 0) return 'making network namespaces needs root';
  return undefined;
};

/** Why packets cannot be delayed here, in one line, or undefined. */
export const lackOfDelay = (): string | undefined => {
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun';
  return onPath('python3') ? undefined : 'python3 is not on PATH';
};

export const isInside = (): boolean => process.env[INSIDE] === '1';

/**
 * Runs a script inside; resolves with its exit code. It ends with this process, which passes signals on.
 *
 * @param stdio of the script; this process's by default
 */
export const runInside = async (
  script: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<number> => {
  const child = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'KILL'],
      ...['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc'],
      ...[process.execPath, ...process.execArgv, script, ...args],
    ],
    // A group of its own, so that it gets each signal once: from here.
    { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' }, detached: true },
  );
  // unshare ignores other signals; what runs inside ends with it.
  const stop = (): void => void child.kill('SIGKILL');
  signal?.addEventListener('abort', stop, { once: true });
  process.once('exit', stop);
  const pass = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // It has ended.
    }
  };
  for (const name of SIGNALS) process.on(name, pass);
  try {
    const [code] = await once(child, 'exit');
    return code ?? 1;
  } finally {
    signal?.removeEventListener('abort', stop);
    process.off('exit', stop);
    for (const name of SIGNALS) process.off(name, pass);
  }
};
