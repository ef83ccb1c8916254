/**
 * Relays and their clients between this project and another implementation, on public addresses in a network namespace.
 * Arguments: the engine, the words of the peer's program (`interop/hole-punch-peers/`). Prints a line of JSON for each
 * thing that was found out.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { isInside, runInside } from '../../interop/nat/isolate.ts';
import { type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { circuitOf, parseMultiaddr, withPeer } from '../../src/multiaddr.ts';
import { createNode, type LeanNode, type NodeOptions } from '../../src/node/node.ts';
import { reserve } from '../../src/protocols/circuit-hop.ts';
import { ping } from '../../src/protocols/ping.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import { eventsOf } from './nodes.ts';

/** Of our relay, listener and dialer, and of whichever participant is theirs, in a namespace of its own. */
const [RELAY, LISTENER, DIALER, THEIRS] = ['45.0.0.1', '45.0.0.2', '45.0.0.3', '45.0.0.4'] as const;
/** Seconds of a reservation: as short as they can be for a client of ours to renew it in time. */
const RESERVATION = 7;

const STACKS = {
  'quic-v1': { end: '/udp/0/quic-v1', env: { TRANSPORT: 'quic-v1' } },
  tcp: { end: '/tcp/0', env: { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' } },
} as const;

const ip = (...args: readonly string[]): void => void execFileSync('ip', args);

const makeNetwork = (): void => {
  // `ip netns` keeps the names here; the mount namespace is ours.
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  ip('netns', 'add', 'theirs');
  ip('link', 'add', 'ours', 'type', 'veth', 'peer', 'name', 'theirs', 'netns', 'theirs');
  for (const address of [RELAY, LISTENER, DIALER]) {
    ip('address', 'add', `${address}/24`, 'dev', 'ours');
  }
  for (const link of ['lo', 'ours']) ip('link', 'set', link, 'up');
  ip('-n', 'theirs', 'address', 'add', `${THEIRS}/24`, 'dev', 'theirs');
  for (const link of ['lo', 'theirs']) ip('-n', 'theirs', 'link', 'set', link, 'up');
};

interface Setting {
  readonly over: keyof typeof STACKS;
  readonly engine: EngineName;
  readonly program: readonly string[];
  readonly redis: RedisServer;
}

const say = ({ over }: Setting, question: string, answer: unknown): void => {
  process.stdout.write(`${JSON.stringify({ over, question, answer })}\n`);
};

/** A participant of theirs; it ends with this process's namespaces. */
const spawnPeer = (
  { over, program, redis }: Setting,
  key: string,
  env: Readonly<Record<string, string>>,
): ChildProcess =>
  spawn('ip', ['netns', 'exec', 'theirs', ...program], {
    env: {
      ...process.env,
      ...STACKS[over].env,
      REDIS_ADDR: `${RELAY}:${redis.port}`,
      TEST_KEY: key,
      TEST_TIMEOUT_SECS: '60',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });

/** What a participant, or we, have put under a key. */
const fetch = async ({ redis }: Setting, key: string): Promise<string> => {
  for (;;) {
    const [, value] = /^\$\d+\r\n(.+)\r\n/.exec(await redis.send('GET', key)) ?? [];
    if (value !== undefined) return value;
  }
};

const nodeOf = ({ engine }: Setting, options: NodeOptions = {}): Promise<LeanNode> =>
  createNode({
    transports: [quic({ engine }), tcp({ secureChannels: ['noise'], muxers: ['yamux'] })],
    ...options,
  });

/** Our listener and our dialers at a relay of theirs. */
const atTheirRelay = async (setting: Setting): Promise<void> => {
  const { over } = setting;
  const { end } = STACKS[over];
  const key = `relay-${over}`;
  const env = { IS_RELAY: 'true', RELAY_IP: THEIRS, RESERVATION_SECS: String(RESERVATION) };
  const theirs = spawnPeer(setting, key, env);
  const relay = parseMultiaddr(await fetch(setting, `${key}_relay_multiaddr`));
  const listener = await nodeOf(setting);
  await listener.listen(`/ip4/${LISTENER}${end}`);
  const reserved = eventsOf(listener, 'relay:reserve');
  const { address } = await listener.listen(circuitOf(relay));
  const first = await reserved.next();
  say(setting, 'their relay: limits', first.limit);
  const { voucher } = await reserve(await listener.dial(relay));
  say(
    setting,
    'their relay: voucher',
    voucher && [`${voucher.relay}`, `${voucher.peer}`].map((id) => address.toString().includes(id)),
  );

  const stays = await nodeOf(setting, { nat: { holePunching: false } });
  const relayed = await stays.dial(address);
  const rtt = await ping(relayed);
  say(setting, 'their relay: a relayed connection pings', relayed.circuit !== undefined && rtt > 0);
  const stranger = withPeer(circuitOf(relay), peerIdOf(generateHostKey().publicKey));
  const refused = await stays.dial(stranger).catch((error: unknown) => error);
  say(setting, 'their relay: a stranger', isLeanError(refused) ? refused.code : 'no error');

  const dialer = await nodeOf(setting);
  await dialer.listen(`/ip4/${DIALER}${end}`);
  const direct = eventsOf(dialer, 'connection:direct');
  await dialer.dial(address);
  const { connection } = await direct.next();
  say(setting, 'their relay: direct', connection.circuit === undefined);

  const second = await reserved.next();
  say(setting, 'their relay: renewed', second.expires > first.expires);
  await Promise.all([listener, stays, dialer].map((node) => node.close()));
  theirs.kill();
};

/** Their listener and their dialer at a relay of ours. */
const atOurRelay = async (setting: Setting): Promise<void> => {
  const { over, redis } = setting;
  const { end } = STACKS[over];
  const relay = await nodeOf(setting, { relay: { reservationTime: 1_000 * RESERVATION } });
  const granted = eventsOf(relay, 'relay:grant');
  const { address } = await relay.listen(`/ip4/${RELAY}${end}`);
  const meet = async (key: string): Promise<void> => {
    await redis.send('SET', `${key}_relay_multiaddr`, address.toString());
  };

  const theirListener = async (): Promise<void> => {
    const key = `listener-${over}`;
    await meet(key);
    const theirs = spawnPeer(setting, key, { IS_DIALER: 'false', LISTENER_IP: THEIRS });
    const first = await granted.next();
    // They take the voucher, or they would not publish.
    const id = await fetch(setting, `${key}_listener_peer_id`);
    const dialer = await nodeOf(setting);
    await dialer.listen(`/ip4/${DIALER}${end}`);
    const direct = eventsOf(dialer, 'connection:direct');
    const relayed = await dialer.dial(`${circuitOf(address)}/p2p/${id}`);
    say(setting, 'their listener: the limits of the connection', relayed.circuit?.limit);
    const { connection } = await direct.next();
    say(setting, 'their listener: direct', connection.remotePeer.toString() === id);
    if (renews) {
      const second = await granted.next();
      const longer = second.peer.equals(first.peer) && second.expires > first.expires;
      say(setting, 'their listener: renewed', longer);
    }
    await dialer.close();
    theirs.kill();
  };

  const theirDialer = async (): Promise<void> => {
    const key = `dialer-${over}`;
    const listener = await nodeOf(setting);
    await listener.listen(`/ip4/${LISTENER}${end}`);
    await listener.listen(circuitOf(address));
    await meet(key);
    await redis.send('SET', `${key}_listener_peer_id`, listener.peerId.toString());
    const env = { IS_DIALER: 'true', DIALER_IP: THEIRS, PUNCH_TIMEOUT_SECS: '20' };
    const theirs = spawnPeer(setting, key, env);
    const ended = once(theirs, 'exit');
    let report = '';
    if (theirs.stdout !== null) {
      for await (const line of createInterface({ input: theirs.stdout })) report += `${line}\n`;
    }
    const [code] = await ended;
    const [, connection] = /connection: (\w+)/.exec(report) ?? [];
    say(setting, 'their dialer', [code, connection]);
    await listener.close();
  };

  await theirListener();
  await theirDialer();
  await relay.close();
};

/** Of the participants, the one on rust-libp2p keeps its reservation; go-libp2p renews two minutes before the end. */
const renews = process.argv.slice(2).some((word) => word.includes('rust'));

const main = async (engine: EngineName, program: readonly string[]): Promise<void> => {
  makeNetwork();
  const redis = await startRedis({ args: ['--bind', '0.0.0.0', '--protected-mode', 'no'] });
  const overs = Object.keys(STACKS) as (keyof typeof STACKS)[];
  await Promise.all(
    overs.flatMap((over) => {
      const setting = { over, engine, program, redis };
      return [atTheirRelay(setting), atOurRelay(setting)];
    }),
  );
  await redis.stop();
};

const [engine, ...program] = process.argv.slice(2);
if (isInside()) {
  await main(engine as EngineName, program);
  process.exit();
} else process.exitCode = await runInside(import.meta.filename, process.argv.slice(2));
