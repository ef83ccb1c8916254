/** Docker through its command, for tests: networks and containers that are gone when the test is. */

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longer than anything here takes, shorter than a CI job, ms. */
const TIMEOUT = 120_000;

/** Runs one docker command to its end. Its exit code is the container's with `run`. */
export const tryDocker = async (...args: readonly string[]): Promise<Outcome> => {
  const child = spawn('docker', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: TIMEOUT });
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? -1));
  });
  const [code, stdout, stderr] = await Promise.all([
    ended,
    buffer(child.stdout),
    buffer(child.stderr),
  ]);
  return { code, stdout: stdout.toString(), stderr: stderr.toString() };
};

/** As `tryDocker()`, and its stdout, trimmed. @throws with its stderr when it failed. */
export const docker = async (...args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await tryDocker(...args);
  if (code !== 0) throw new Error(`docker ${args.join(' ')}: exit code ${code}: ${stderr.trim()}`);
  return stdout.trim();
};

export type Variables = Readonly<Record<string, string>>;

export interface Network {
  /** Starts a container in the background. */
  start(role: string, image: string, variables?: Variables): Promise<Container>;
  /** Runs a container in the foreground, to its end. */
  run(role: string, image: string, variables?: Variables): Promise<Outcome>;
  /** A Redis that containers reach as `redis`, and as `perf-redis`. */
  startRedis(): Promise<Redis>;
}

export interface Container {
  readonly id: string;
  /** Its address on the network. */
  address(family: 'ip4' | 'ip6'): Promise<string>;
  /** Sends SIGTERM, then SIGKILL `graceSeconds` later; resolves with how it ended. */
  stop(graceSeconds: number): Promise<Outcome>;
  /** Resolves when it has ended by itself. */
  ended(): Promise<Outcome>;
}

export interface Redis extends Container {
  /** Waits for the list `key` to hold something, and leaves it there. */
  waitForList(key: string): Promise<string[]>;
}

/** What an image must do without: root, capabilities, a file system to write to. */
const CONFINED = ['--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'];

const options = (variables: Variables): string[] =>
  Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]);

/** A private network, with what runs in it removed after the test. */
export const createNetwork = async (
  test: TestContext,
  ...createOptions: readonly string[]
): Promise<Network> => {
  const name = `libp2p-lean-${randomBytes(4).toString('hex')}`;
  const containers: string[] = [];
  test.after(async () => {
    if (containers.length > 0) await tryDocker('rm', '--force', '--volumes', ...containers);
    await tryDocker('network', 'rm', name);
  });
  await docker('network', 'create', ...createOptions, name);

  const named = (role: string): string => {
    const container = `${name}-${role}`;
    containers.push(container);
    return container;
  };
  const start = async (args: readonly string[], role: string): Promise<Container> =>
    containerOf(
      await docker('run', '--detach', `--network=${name}`, `--name=${named(role)}`, ...args),
    );

  return {
    start: (role, image, variables = {}) =>
      start([...CONFINED, ...options(variables), image], role),
    run: (role, image, variables = {}) => {
      const placed = [`--network=${name}`, `--name=${named(role)}`];
      return tryDocker('run', ...placed, ...CONFINED, ...options(variables), image);
    },
    startRedis: async () => {
      const redis = await start(
        ['--network-alias=redis', '--network-alias=perf-redis', 'redis:7-alpine'],
        'redis',
      );
      return { ...redis, waitForList: (key) => waitForList(redis, key) };
    },
  };
};

const containerOf = (id: string): Container => {
  const outcome = async (): Promise<Outcome> => {
    const { stdout, stderr } = await tryDocker('logs', id);
    const code = Number(await docker('inspect', '--format={{.State.ExitCode}}', id));
    return { code, stdout, stderr };
  };
  return {
    id,
    address: (family) => {
      const field = family === 'ip4' ? 'IPAddress' : 'GlobalIPv6Address';
      return docker(
        'inspect',
        `--format={{range .NetworkSettings.Networks}}{{.${field}}}{{end}}`,
        id,
      );
    },
    stop: async (graceSeconds) => {
      await docker('stop', '--time', String(graceSeconds), id);
      return outcome();
    },
    ended: async () => {
      await docker('wait', id);
      return outcome();
    },
  };
};

const waitForList = async (redis: Container, key: string): Promise<string[]> => {
  const deadline = performance.now() + TIMEOUT;
  for (;;) {
    const { code, stdout } = await tryDocker(
      'exec',
      redis.id,
      'redis-cli',
      'LRANGE',
      key,
      '0',
      '-1',
    );
    const values = stdout.trim();
    if (code === 0 && values !== '') return values.split('\n');
    if (performance.now() > deadline) throw new Error(`nothing was published under ${key}`);
  }
};
