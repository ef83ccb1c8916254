/**
 * test-plans' hole-punch-interop contract in the NAT laboratory, two port-restricted NATs, Redis at `redis:6379`.
 * Arguments: `tcp` or `quic`; then, each `-` for ours, the programs of relay, dialer and listener. Prints what the dialer
 * prints; exits with its code.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isInside, runInside } from '../../interop/nat/isolate.ts';
import {
  createLaboratory,
  HOSTS,
  type Host,
  type Laboratory,
  prepareLaboratories,
} from '../../interop/nat/laboratory.ts';
import { type RedisServer, startRedis } from '../../interop/redis-server.ts';

const CLI = path.join(import.meta.dirname, '../../bin/libp2p-lean');
const KEYS = { tcp: 'RELAY_TCP_ADDRESS', quic: 'RELAY_QUIC_ADDRESS' } as const;
/** Of our relay, which test-plans does not run: its suite has one of its own. */
const UNIFIED = {
  tcp: { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' },
  quic: { TRANSPORT: 'quic-v1' },
} as const;

type Transport = keyof typeof KEYS;

/** `ip netns exec` puts these in place of the files of /etc. */
const nameRedis = (laboratory: Laboratory): void => {
  mkdirSync('/etc/netns', { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/etc/netns']);
  for (const host of HOSTS) {
    // `ip netns exec <namespace>`
    const [, , , namespace = ''] = laboratory.on(host, []);
    mkdirSync(`/etc/netns/${namespace}`);
    writeFileSync(`/etc/netns/${namespace}/hosts`, `${laboratory.controlAddress(host)} redis\n`);
  }
};

/** The relay's address in the network that all three share; it may publish others. */
const relayAddress = async (redis: RedisServer, keys: readonly string[], ip: string) => {
  for (;;) {
    for (const key of keys) {
      const isList = (await redis.send('TYPE', key)).startsWith('+list');
      const reply = await redis.send(...(isList ? ['LRANGE', key, '0', '-1'] : ['GET', key]));
      const found = reply.split('\r\n').find((line) => line.startsWith(`/ip4/${ip}/`));
      if (found !== undefined) return found;
    }
  }
};

const main = async (transport: Transport, programs: Record<Host, string>): Promise<number> => {
  await prepareLaboratories();
  const redis = await startRedis({
    port: 6379,
    args: ['--bind', '0.0.0.0', '--protected-mode', 'no'],
  });
  const laboratory = await createLaboratory({
    slot: 0,
    dialer: 'port-restricted',
    listener: 'port-restricted',
  });
  nameRedis(laboratory);
  const start = (host: Host, env: Readonly<Record<string, string>>): ChildProcess => {
    const program = programs[host];
    const command = program === '-' ? [CLI, 'hole-punch'] : [program];
    const [file = '', ...args] = laboratory.on(host, command);
    const stdout = host === 'dialer' ? 'pipe' : 'ignore';
    const stderr = process.env.DEBUG === 'true' ? 'inherit' : 'ignore';
    return spawn(file, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', stdout, stderr],
    });
  };
  const own = { ...UNIFIED[transport], REDIS_ADDR: 'redis:6379', TEST_KEY: 'own' };
  start('relay', { ...own, IS_RELAY: 'true', RELAY_IP: laboratory.addresses.relay });
  const key = KEYS[transport];
  const address = await relayAddress(
    redis,
    [key, 'own_relay_multiaddr'],
    laboratory.addresses.relay,
  );
  await redis.send('DEL', key);
  await redis.send('RPUSH', key, address, address);
  start('listener', { MODE: 'listen', TRANSPORT: transport });
  const dialer = start('dialer', { MODE: 'dial', TRANSPORT: transport });
  dialer.stdout?.pipe(process.stdout);
  // Its output has been read then.
  const [code] = await once(dialer, 'close');
  return code ?? 1;
};

const [transport, relay = '-', dialer = '-', listener = '-'] = process.argv.slice(2);
process.exit(
  isInside()
    ? await main(transport as Transport, { relay, dialer, listener })
    : await runInside(import.meta.filename, process.argv.slice(2)),
);
