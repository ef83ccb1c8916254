/**
 * A UDP relay that imposes a network condition: a process of its own, with real-time priority where permitted,
 * so that other load delays no packet. udp-relay-process.ts is what runs there.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { SocketAddress } from '../../src/socket-address.ts';
import type { Condition } from './conditions.ts';

export interface RelayOptions {
  /** Where packets are forwarded to; IPv4. */
  readonly target: SocketAddress;
  readonly condition: Condition;
  readonly seed: number;
  /** What IP adds to each datagram's length, in bytes; 0 when datagrams hold whole IP packets. */
  readonly overhead: number;
}

/** What passed so far. */
export interface RelayStats {
  /** Packets that came, by direction: from the dialer, from the listener. */
  readonly packets: readonly [number, number];
  readonly lost: readonly [number, number];
  readonly bytes: readonly [number, number];
  readonly rebindings: number;
  /** By how much packets left later than they should, milliseconds. */
  readonly lateness: { readonly median: number; readonly p99: number; readonly most: number };
}

export interface UdpRelay {
  /** Where dialers send to: a port of the target's host. */
  readonly address: SocketAddress;
  stats(): Promise<RelayStats>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** The relay's answers. */
export type FromRelay = { readonly address: SocketAddress } | { readonly stats: RelayStats };

const PROCESS = fileURLToPath(new URL('udp-relay-process.ts', import.meta.url));
/** The time limit for each answer, ms. */
const ANSWER_TIMEOUT = 10_000;

/** Whether processes may be given real-time priority here; waiting for a CPU delays packets. */
let realTime: boolean | undefined;

/** `command` with real-time priority, where permitted. */
export const inRealTime = (command: readonly string[]): readonly string[] => {
  realTime ??= spawnSync('chrt', ['-f', '1', 'true']).status === 0;
  return realTime ? ['chrt', '-f', '1', ...command] : command;
};

/** Starts a relay. Rejects when it cannot bind. */
export const startUdpRelay = async (options: RelayOptions): Promise<UdpRelay> => {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', PROCESS];
  const [file = '', ...args] = inRealTime(node);
  const child = spawn(file, args, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const answer = async (): Promise<FromRelay> => {
    const said = once(child, 'message', { signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
    const ended = exited.then(([code]) => {
      throw new Error(`the relay ended with code ${code}`);
    });
    const [message] = await Promise.race([said, ended]);
    return message as FromRelay;
  };
  const close = async (): Promise<void> => {
    // It ends with its channel, and with this process.
    if (child.connected) child.disconnect();
    await exited;
  };
  child.send(options);
  let started: FromRelay;
  try {
    started = await answer();
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  if (!('address' in started)) throw new Error('the relay did not say where it is');
  return {
    address: started.address,
    stats: async () => {
      child.send('stats');
      const said = await answer();
      if (!('stats' in said)) throw new Error('the relay did not say how it is');
      return said.stats;
    },
    close,
  };
};
