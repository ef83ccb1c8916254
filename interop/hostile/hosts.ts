/**
 * Three hosts on one machine: the listener's, where this process runs, a hostile one and a good one, as network
 * namespaces, which end with the processes in them. Each has its own addresses, as limits per host need
 * different hosts.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { onPath } from '../on-path.ts';

/** Addresses for tests (RFC 2544). */
const LISTENER = '198.18.0.1';
const INSIDE = 'LIBP2P_LEAN_HOSTILE_INSIDE';

export interface Hosts {
  /** What listeners bind to. */
  readonly listenerIp: string;
  readonly hostile: Host;
  readonly good: Host;
  close(): void;
}

export interface Host {
  /** The command that runs `command` there. */
  wrap(command: readonly string[]): string[];
}

/** Why three hosts cannot be made here, or `false`. Without them all is on loopback, which has no limits per host. */
const noHosts = (): string | false => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return 'network namespaces need root';
  const lacking = ['ip', 'unshare', 'nsenter'].find((program) => !onPath(program));
  return lacking === undefined ? false : `${lacking} is not on PATH`;
};

/**
 * Runs this process again in a network namespace.
 *
 * @returns 'moved' in the outer process, which ends with the inner one's exit code; false in the inner one;
 * or why there can be no namespace.
 */
export const moveIn = (): string | false | 'moved' => {
  if (process.env[INSIDE] !== undefined) return false;
  const lacking = noHosts();
  if (lacking !== false) return lacking;
  const child = spawn(
    'unshare',
    ['--net', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    {
      stdio: 'inherit',
      env: { ...process.env, [INSIDE]: '1' },
    },
  );
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  child.on('exit', (code) => process.exit(code ?? 1));
  return 'moved';
};

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'inherit' });

const link = (number: number): Host & { readonly holder: ChildProcess } => {
  // It holds the namespace, and ends when its stdin does.
  const holder = spawn('unshare', ['--net', 'cat'], { stdio: ['pipe', 'ignore', 'inherit'] });
  const pid = String(holder.pid);
  const wrap = (command: readonly string[]): string[] => ['nsenter', '-t', pid, '-n', ...command];
  const there = (...args: string[]): void => {
    const [file = '', ...rest] = wrap(['ip', ...args]);
    execFileSync(file, rest, { stdio: 'inherit' });
  };
  awaitNamespace(pid);
  const [here, far] = [`198.18.${number}.1`, `198.18.${number}.2`];
  ip('link', 'add', `h${number}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid);
  ip('addr', 'add', `${here}/24`, 'dev', `h${number}`);
  ip('link', 'set', `h${number}`, 'up');
  there('addr', 'add', `${far}/24`, 'dev', 'eth0');
  there('link', 'set', 'lo', 'up');
  there('link', 'set', 'eth0', 'up');
  there('route', 'add', 'default', 'via', here);
  return { wrap, holder };
};

/** Waits until `unshare` has made the namespace. */
const awaitNamespace = (pid: string): void => {
  const ours = execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' });
  for (let looks = 0; looks < 500; looks++) {
    const theirs = execFileSync('readlink', [`/proc/${pid}/ns/net`], { encoding: 'utf8' });
    if (theirs !== ours) return;
  }
  throw new Error('no second network namespace');
};

/** @param apart after {@link moveIn} returned `false` */
export const openHosts = (apart: boolean): Hosts => {
  const loopback: Host = { wrap: (command) => [...command] };
  if (!apart) {
    return { listenerIp: '127.0.0.1', hostile: loopback, good: loopback, close: () => {} };
  }
  ip('link', 'set', 'lo', 'up');
  ip('addr', 'add', `${LISTENER}/32`, 'dev', 'lo');
  const [hostile, good] = [link(1), link(2)];
  return {
    listenerIp: LISTENER,
    hostile,
    good,
    close: () => {
      for (const { holder } of [hostile, good]) holder.stdin?.end();
    },
  };
};
