/**
 * A network path for TCP under a condition. A relay that terminates TCP connections could not lose segments, so
 * whole IP packets pass: each side runs in a network namespace of its own, with the kernel's own TCP, and
 * what its TUN device sends goes as datagrams through the UDP relay. UDP works on such a path, too.
 * It is removed when the two commands end. tun.py runs them.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { onPath } from '../on-path.ts';
import type { Condition } from './conditions.ts';
import { startUdpRelay, type UdpRelay } from './udp-relay.ts';

const TUN = fileURLToPath(new URL('tun.py', import.meta.url));
const HOST = '127.0.0.1';
/** Addresses for documentation (RFC 5737); used in the two namespaces only. */
const ADDRESSES = { dialer: '192.0.2.1', listener: '192.0.2.2' } as const;

export interface TcpPath {
  /** What listeners bind to. */
  readonly listenerIp: string;
  /** Where both sides find what listens on `redisPort` of this machine's loopback. */
  readonly redisAddress: string;
  /** A command that runs `command` on that side of the path, and ends as it does. */
  wrap(role: 'dialer' | 'listener', command: readonly string[]): string[];
  readonly relay: UdpRelay;
  close(): Promise<void>;
}

const isOpen = (path: string): boolean => {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
};

/** Why such a path cannot be made here, in one line, or `false`. */
export const noTcpPath = (): string | false => {
  if (process.platform !== 'linux') return 'network conditions for TCP need Linux';
  if (!onPath('python3')) return 'network conditions for TCP need python3';
  if (!isOpen('/dev/net/tun')) return 'network conditions for TCP need /dev/net/tun';
  if (process.getuid?.() !== 0) return 'network conditions for TCP need root (CAP_NET_ADMIN)';
  return false;
};

/** A UDP port of loopback that was free a moment ago. */
const freeUdpPort = async (): Promise<number> => {
  const socket = createSocket('udp4');
  socket.bind(0, HOST);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
};

/**
 * Makes a path. It works once both commands run.
 *
 * @param redisPort a TCP port of 127.0.0.1 that both sides reach, unimpaired, at `redisAddress`
 */
export const openTcpPath = async (
  condition: Condition,
  seed: number,
  redisPort: number,
): Promise<TcpPath> => {
  const port = await freeUdpPort();
  const target = { host: HOST, port };
  const relay = await startUdpRelay({ target, condition, seed, overhead: 0 });
  const udp = {
    listener: ['--bind', String(port)],
    dialer: ['--connect', String(relay.address.port)],
  };
  return {
    listenerIp: ADDRESSES.listener,
    redisAddress: `${HOST}:${redisPort}`,
    wrap: (role, command) => [
      ...['python3', TUN, ...udp[role], '--address', ADDRESSES[role]],
      ...['--mtu', String(condition.mtu), '--forward', String(redisPort), '--', ...command],
    ],
    relay,
    close: () => relay.close(),
  };
};
