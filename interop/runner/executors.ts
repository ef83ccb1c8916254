/** How cells run: as processes of this machine, or as containers on a private Docker network. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { CONDITIONS } from '../network/conditions.ts';
import { onPath } from '../on-path.ts';
import type { Cell } from './cells.ts';
import { run as runCommand } from './command.ts';
import { MatrixError } from './error.ts';
import { openNetworkPath, seedOf } from './network-path.ts';
import { CONTRACT_VARIABLES, contractEnv, type Dialect } from './participant.ts';
import { start } from './processes.ts';
import { publicationsOf, startWatchedRedis, type WatchedRedis } from './redis.ts';
import type { Role } from './results.ts';
import type { AttemptContext } from './run-cell.ts';
import { traceFolder, traceVariables } from './traces.ts';

/** How one implementation is run. */
export interface Participant {
  readonly id: string;
  /** A command for processes; an image for containers. */
  readonly command: readonly string[];
  readonly image: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/** Runs the participants of all cells of a run. */
export interface Executor {
  /** Prepares one attempt: its Redis, and how its two participants are started. `traced`: with traces and debug logs. */
  prepare(cell: Cell, testKey: string, attempt: number, traced: boolean): Promise<AttemptContext>;
  /** Settles with a line when the run cannot go on. */
  readonly lost: Promise<string>;
  close(): Promise<void>;
}

export interface ExecutorOptions {
  readonly dialect: Dialect;
  readonly participants: ReadonlyMap<string, Participant>;
  readonly out: string;
  readonly timeoutSecs: number;
  readonly debug: boolean;
  /** What listeners are told to bind to. */
  readonly listenerIp: string;
  /** Of network conditions. */
  readonly seed: number;
}

const participantOf = (options: ExecutorOptions, id: string): Participant => {
  const participant = options.participants.get(id);
  if (participant === undefined) throw new MatrixError(`${id} cannot be run here`);
  return participant;
};

const header = (command: readonly string[], env: Readonly<Record<string, string>>): string[] => [
  ...Object.entries(env).map(([key, value]) => `${key}=${value}`),
  command.join(' '),
];

const never = new Promise<string>(() => {});

interface RedisPool<R extends WatchedRedis> {
  forAttempt(testKey: string): Promise<R>;
  release(redis: R): Promise<void>;
  readonly lost: Promise<string>;
  close(): Promise<void>;
}

/**
 * The unified dialect shares one Redis, where TEST_KEY distinguishes the attempts; the legacy dialect has
 * one fixed key, so each attempt gets a Redis of its own.
 */
const redisPool = async <R extends WatchedRedis>(
  dialect: Dialect,
  create: (name: string) => Promise<R>,
): Promise<RedisPool<R>> => {
  if (dialect === 'legacy') {
    const open = new Set<R>();
    return {
      forAttempt: async (testKey) => {
        const redis = await create(testKey);
        open.add(redis);
        return redis;
      },
      release: async (redis) => {
        open.delete(redis);
        await redis.stop();
      },
      lost: never,
      close: async () => {
        await Promise.all([...open].map((redis) => redis.stop()));
      },
    };
  }
  const redis = await create('shared');
  return {
    forAttempt: async () => redis,
    release: async () => {},
    lost: redis.lost,
    close: () => redis.stop(),
  };
};

/** Cells as pairs of child processes and a redis-server on 127.0.0.1. */
export const processExecutor = async (options: ExecutorOptions): Promise<Executor> => {
  const { dialect, out } = options;
  const pool = await redisPool(dialect, (name) =>
    startWatchedRedis(join(out, 'logs', name === 'shared' ? 'redis.log' : `redis-${name}.log`)),
  );
  const inherited: NodeJS.ProcessEnv = { ...process.env };
  for (const name of CONTRACT_VARIABLES) delete inherited[name];
  return {
    lost: pool.lost,
    close: pool.close,
    prepare: async (cell, testKey, attempt, traced) => {
      const redis = await pool.forAttempt(testKey);
      const condition = CONDITIONS.find(({ name }) => name === cell.condition);
      const path =
        condition === undefined
          ? undefined
          : await openNetworkPath({
              ...{ cell, condition, testKey, redis },
              seed: seedOf(options.seed, condition.name, attempt),
            });
      return {
        dialect,
        published: redis.published,
        connections: condition?.connections ?? 1,
        network: async () => (await path?.record()) ?? null,
        close: async () => {
          await path?.close();
          await pool.release(redis);
        },
        start: async (role: Role, log: string, connection: number) => {
          const { command: own, env: extra } = participantOf(options, cell[role]);
          const command = path?.wrap(role, own) ?? own;
          const contract = contractEnv({
            ...options,
            debug: options.debug || traced,
            cell,
            role,
            redisAddress: redis.address,
            listenerIp: path?.listenerIp ?? options.listenerIp,
            testKey: path?.keyOf(role, connection) ?? testKey,
          });
          const traces = traced ? traceVariables(await traceFolder(log)) : {};
          const env = { ...extra, ...contract, ...traces };
          const child = await start({
            command,
            env: { ...inherited, ...env },
            cwd: join(log, '..'),
            log,
            header: header(command, env),
          });
          return { child, command, env };
        },
      };
    },
  };
};

/** Where a container finds the folder of its traces. */
const CONTAINER_TRACES = '/traces';
const REDIS_IMAGE = 'redis:7-alpine';

/** The docker CLI; throws {@link MatrixError} with its message when it fails. */
const docker = async (...args: string[]): Promise<string> => {
  const result = await runCommand(['docker', ...args], 120_000);
  if (result.code !== 0) {
    throw new MatrixError(
      `docker ${args[0]} failed: ${result.stderr.trim().split('\n').at(-1) ?? 'no output'}`,
    );
  }
  return result.stdout.trim();
};

/** The one line for a machine without a Docker engine, or undefined where there is one. */
export const dockerMissing = async (): Promise<string | undefined> => {
  if (!onPath('docker'))
    return 'docker is not on PATH; --exec docker needs the Docker CLI and an engine';
  const { code } = await runCommand(['docker', 'info', '--format', '{{.ServerVersion}}'], 20_000);
  return code === 0
    ? undefined
    : 'no Docker engine answers (docker info failed); start one, or leave out --exec docker';
};

/** Cells as pairs of containers on a network of their own, with a Redis container in it. */
export const dockerExecutor = async (options: ExecutorOptions): Promise<Executor> => {
  const { dialect, out } = options;
  const missing = await dockerMissing();
  if (missing !== undefined) throw new MatrixError(missing);
  const run = `libp2p-lean-${randomBytes(4).toString('hex')}`;
  const label = ['--label', `libp2p-lean-matrix=${run}`];
  await docker('network', 'create', ...label, run);
  const removeAll = async () => {
    const ids = await docker('ps', '-aq', '--filter', `label=libp2p-lean-matrix=${run}`).catch(
      () => '',
    );
    if (ids !== '') await docker('rm', '-f', ...ids.split('\n')).catch(() => {});
    await docker('network', 'rm', run).catch(() => {});
  };
  const redisContainer = async (key: string): Promise<WatchedRedis> => {
    const name = `${run}-redis-${key}`;
    await docker(
      ...['run', '-d', '--rm', '--name', name, '--network', run, ...label],
      ...[REDIS_IMAGE, 'redis-server', '--bind', '0.0.0.0', '--protected-mode', 'no'],
      ...['--save', '', '--appendonly', 'no'],
    );
    for (let attempt = 0; ; attempt++) {
      const { stdout } = await runCommand(['docker', 'exec', name, 'redis-cli', 'ping'], 10_000);
      if (stdout.includes('PONG')) break;
      if (attempt === 50) throw new MatrixError(`Redis did not come up in container ${name}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const { feed, published } = publicationsOf();
    const monitor = await start({
      command: ['docker', 'exec', name, 'redis-cli', 'monitor'],
      env: process.env,
      cwd: out,
      log: join(out, 'logs', `redis-${key}.log`),
      header: [],
      onStdout: feed,
    });
    let stopping = false;
    return {
      address: `${name}:6379`,
      published,
      lost: monitor.exited.then(() =>
        stopping ? never : 'the Redis container ended during the run',
      ),
      stop: async () => {
        stopping = true;
        await docker('rm', '-f', name).catch(() => {});
        await monitor.stop(500);
      },
    };
  };
  let pool: RedisPool<WatchedRedis>;
  try {
    pool = await redisPool(dialect, redisContainer);
  } catch (error) {
    await removeAll();
    throw error;
  }
  return {
    lost: pool.lost,
    close: async () => {
      await pool.close();
      await removeAll();
    },
    prepare: async (cell, testKey, _attempt, traced) => {
      const redis = await pool.forAttempt(testKey);
      const containers: string[] = [];
      return {
        dialect,
        published: redis.published,
        connections: 1,
        network: async () => null,
        close: async () => {
          await docker('rm', '-f', ...containers).catch(() => {});
          await pool.release(redis);
        },
        start: async (role: Role, log: string) => {
          const { image = '', env: own } = participantOf(options, cell[role]);
          const env = {
            ...own,
            ...contractEnv({
              ...options,
              debug: options.debug || traced,
              cell,
              role,
              redisAddress: redis.address,
              testKey,
            }),
            ...(traced && traceVariables(CONTAINER_TRACES)),
          };
          const volume = traced ? ['-v', `${await traceFolder(log)}:${CONTAINER_TRACES}`] : [];
          const name = `${run}-${testKey}-${role}`;
          containers.push(name);
          // Attached and without a terminal: the CLI keeps stdout and stderr apart, passes signals
          // on and exits with the container's code.
          const command = [
            ...['docker', 'run', '--rm', '--init', '--name', name, '--network', run, ...label],
            ...Object.entries(env).flatMap(([key, value]) => ['-e', `${key}=${value}`]),
            ...volume,
            image,
          ];
          const child = await start({
            command,
            env: process.env,
            cwd: join(log, '..'),
            log,
            header: [command.join(' ')],
          });
          return { child, command: ['docker', 'run', '--rm', '--init', image], env };
        },
      };
    },
  };
};
