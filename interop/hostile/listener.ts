/** The listeners under attack: the matrix's participants, and `libp2p-lean listen` for ours. */
import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Participant } from '../runner/executors.ts';
import type { Implementation } from '../runner/images.ts';
import { contractEnv } from '../runner/participant.ts';
import { type Child, start } from '../runner/processes.ts';
import type { LocalRedis } from '../runner/redis.ts';
import type { Layer } from './attacks.ts';

export interface Listener {
  readonly multiaddr: string;
  /** Resident memory of the process and its children; bytes. */
  memory(): number;
  readonly log: string;
  logBytes(): number;
  readonly child: Child;
}

const TRANSPORT = { quic: 'quic-v1', tcp: 'tcp', ws: 'ws' } as const;
const WHERE = { quic: 'udp/0/quic-v1', tcp: 'tcp/0', ws: 'tcp/0/ws' } as const;
const START_TIMEOUT = 30_000;
const FOREVER_SECS = 3_600;

/** Processes of a tree, the root among them. */
const treeOf = (pid: number): number[] => {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return [
      pid,
      ...children
        .split(' ')
        .filter(Boolean)
        .flatMap((child) => treeOf(Number(child))),
    ];
  } catch {
    return [];
  }
};

const residentOf = (pid: number): number => {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return 1_024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
  } catch {
    return 0;
  }
};

/** Starts a listener of `implementation` and waits for its address. Rejects with one line when there is none. */
export const startListener = async (options: {
  readonly implementation: Implementation;
  readonly participant: Participant;
  readonly layer: Layer;
  readonly listenerIp: string;
  readonly redis: LocalRedis;
  readonly key: string;
  readonly log: string;
}): Promise<Listener> => {
  const { implementation, participant, layer, listenerIp, redis, key, log } = options;
  const transport = TRANSPORT[layer];
  let found = (_: string): void => {};
  const printed = new Promise<string>((resolve) => {
    found = resolve;
  });
  const contract = contractEnv({
    cell: {
      name: key,
      dialer: '',
      listener: implementation.id,
      transport,
      secureChannel: layer === 'quic' ? null : 'noise',
      muxer: layer === 'quic' ? null : 'yamux',
      condition: null,
      ours: implementation.ours,
    },
    role: 'listener',
    dialect: 'unified',
    redisAddress: redis.address,
    testKey: key,
    listenerIp,
    timeoutSecs: FOREVER_SECS,
    debug: false,
  });
  // Ours as people run it, with what its log says about refusals.
  const command = implementation.ours
    ? [
        ...participant.command.slice(0, -1),
        'listen',
        '--perf',
        `/ip4/${listenerIp}/${WHERE[layer]}`,
      ]
    : participant.command;
  const env = implementation.ours ? participant.env : { ...participant.env, ...contract };
  const child = await start({
    command,
    env: { ...process.env, ...env },
    cwd: dirname(log),
    log,
    header: [command.join(' ')],
    onStdout: (chunk) => {
      const line = chunk.split('\n').find((one) => one.startsWith('/ip4/'));
      if (implementation.ours && line !== undefined) found(line);
    },
  });
  const published = redis.whenPublished(`${key}_listener_multiaddr`);
  const ended = child.exited.then(({ code }) => {
    throw new Error(`it ended with code ${code} before it listened`);
  });
  const timeout = delay(START_TIMEOUT, undefined, { ref: false }).then(() => {
    throw new Error(`it did not listen within ${START_TIMEOUT} ms`);
  });
  const multiaddr = await Promise.race([
    implementation.ours ? printed : published.then((publication) => publication.multiaddr),
    ended,
    timeout,
  ]).catch(async (error: unknown) => {
    await child.stop();
    throw error;
  });
  ended.catch(() => {});
  timeout.catch(() => {});
  return {
    multiaddr,
    memory: () => treeOf(child.pid).reduce((sum, pid) => sum + residentOf(pid), 0),
    log,
    logBytes: () => statSync(log, { throwIfNoEntry: false })?.size ?? 0,
    child,
  };
};
