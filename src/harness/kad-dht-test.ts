/**
 * The kad-dht suite (libp2p/unified-testing `kad-dht/README.md`): a bootstrap publishes its address, a
 * provider announces a key and stores a value, a querier looks both up. js-libp2p and its
 * `@libp2p/kad-dht`, over our QUIC and its TCP.
 */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { identify } from '@libp2p/identify';
import type { Libp2p } from '@libp2p/interface';
import { type KadDHT, kadDHT, passthroughMapper, type QueryEvent } from '@libp2p/kad-dht';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { CID } from 'multiformats/cid';
import type { MultihashDigest } from 'multiformats/hashes/interface';
import { orAborted, startDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { quic } from '../js-libp2p/transport.ts';
import { quote } from '../printable.ts';
import { closeInTime } from './closing.ts';
import { HarnessError } from './errors.ts';
import type { KadDhtConfig } from './kad-dht-environment.ts';
import { makeLenient } from './kad-dht-leniency.ts';
import type { Log } from './log.ts';
import { openRendezvous } from './rendezvous.ts';

const PROTOCOL = '/ipfs/kad/1.0.0';
/** How often a querier asks before it gives up, how long one answer may take and how long it waits in between, ms. */
const ATTEMPTS = 10;
const ANSWER_TIMEOUT = 10_000;
const PAUSE = 500;
/** Of a message in an answer. */
const MAX_MESSAGE = 200;

export interface KadDhtTestOptions {
  /** Ends the run early; its reason is a LeanError. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Takes the querier's result; resolves when it has left the process. */
  readonly print: (result: string) => Promise<void>;
}

type Node = Libp2p<{ dht: KadDHT }>;

/**
 * Runs one role: a querier until its result is printed, the others until `signal` fires. All sockets are
 * closed when it settles.
 *
 * @throws ERR_TIMEOUT after `config.timeout`; ERR_ABORTED when `signal` ended a querier; ERR_REDIS;
 * ERR_PROTOCOL_VIOLATION when what was looked up is not there.
 */
export const runKadDhtTest = async (
  config: KadDhtConfig,
  options: KadDhtTestOptions,
): Promise<void> => {
  const { log } = options;
  const deadline = startDeadline(config.timeout, 'the test', options.signal);
  const { signal } = deadline;
  let node: Node | undefined;
  try {
    node = await buildNode(config, signal);
    if (config.role === 'bootstrap') await runBootstrap(config, node, signal, log);
    else if (config.role === 'provider') await runProvider(config, node, signal, log);
    else {
      await runQuerier(config, node, signal, log);
      await options.print('status: pass\n');
    }
  } catch (error) {
    if (config.role === 'querier') {
      await options.print(`error: ${quote(messageOf(error), MAX_MESSAGE)}\nstatus: fail\n`);
      throw error;
    }
    // To be told to end is how the others end.
    if (!options.signal.aborted) throw error;
    log('ended', { reason: messageOf(options.signal.reason) });
  } finally {
    deadline.abort(new LeanError('ERR_ABORTED', 'the test is over'));
    deadline.clear();
    await closeInTime('the node', async () => node?.stop(), log);
  }
};

/** A js-libp2p node that listens, with a DHT that takes any record of the suite. */
const buildNode = async (config: KadDhtConfig, signal: AbortSignal): Promise<Node> => {
  const { transport, role } = config;
  const ip = config.listenerIp ?? (await ownAddress(config, signal));
  const host = `/${isIP(ip) === 6 ? 'ip6' : 'ip4'}/${ip}`;
  const overQuic = transport !== 'tcp';
  const overTcp = transport !== 'quic-v1';
  const dht = kadDHT({
    protocol: PROTOCOL,
    clientMode: role === 'querier',
    // Those of the suite's networks are private ones.
    peerInfoMapper: passthroughMapper,
    validators: { example: async () => undefined },
    selectors: { example: () => 0 },
    initialQuerySelfInterval: 0,
  });
  return createLibp2p({
    addresses: {
      listen: [
        ...(overTcp ? [`${host}/tcp/0`] : []),
        ...(overQuic ? [`${host}/udp/0/quic-v1`] : []),
      ],
    },
    transports: [
      ...(overTcp ? [tcp()] : []),
      ...(overQuic ? [quic({ engine: config.quicEngine })] : []),
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: {
      identify: identify(),
      ping: ping(),
      dht: (components: Parameters<typeof dht>[0]): KadDHT => {
        const made = dht(components);
        makeLenient(made);
        return made;
      },
    },
  });
};

/** This machine's address on the way to Redis, where the other participants are, too. */
const ownAddress = async ({ redis }: KadDhtConfig, signal: AbortSignal): Promise<string> => {
  for (;;) {
    const socket = createSocket(isIP(redis.host) === 6 ? 'udp6' : 'udp4');
    try {
      // Sends nothing: the operating system picks a route.
      socket.connect(redis.port, redis.host);
      await once(socket, 'connect', { signal });
      return socket.address().address;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      // Its name may come up after us.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      await delay(PAUSE, undefined, { signal }).catch(() => undefined);
    } finally {
      socket.close();
    }
  }
};

const runBootstrap = async (
  config: KadDhtConfig,
  node: Node,
  signal: AbortSignal,
  log: Log,
): Promise<void> => {
  const address = node.getMultiaddrs().find((one) => {
    const isQuic = one.toString().includes('/quic-v1');
    return isQuic === (config.transport === 'quic-v1');
  });
  if (address === undefined) throw new LeanError('ERR_LISTEN', 'there is no address to publish');
  const key = `${config.testKey}_bootstrap_addr`;
  await publishAt(config, key, address.toString(), signal, log);
  log('published', { key, address: address.toString() });
  await orAborted(new Promise<never>(() => undefined), signal);
};

const runProvider = async (
  config: KadDhtConfig,
  node: Node,
  signal: AbortSignal,
  log: Log,
): Promise<void> => {
  await join(config, node, signal, log);
  const { dht } = node.services;
  const provided = await orAborted(
    answered(dht.provide(providerKey(config), { signal }), 'ADD_PROVIDER', log),
    signal,
  );
  if (!provided) throw notThere('no peer took the provider record');
  const value = Buffer.from('hello from libp2p-lean client');
  const put = await orAborted(
    answered(dht.put(valueKey(config), value, { signal }), 'PUT_VALUE', log),
    signal,
  );
  if (!put) throw notThere('no peer took the value');
  await publishAt(config, `${config.testKey}_provider_done`, 'done', signal, log);
  await orAborted(new Promise<never>(() => undefined), signal);
};

const runQuerier = async (
  config: KadDhtConfig,
  node: Node,
  signal: AbortSignal,
  log: Log,
): Promise<void> => {
  await fetchFrom(config, `${config.testKey}_provider_done`, signal, log);
  await join(config, node, signal, log);
  const { dht } = node.services;
  const providers = await eventually(signal, async (limited) => {
    for await (const event of dht.findProviders(providerKey(config), { signal: limited })) {
      trace(event, log);
      if (event.name === 'PROVIDER' && event.providers.length > 0) return event.providers;
    }
    return undefined;
  });
  if (providers === undefined) throw notThere('no provider was found');
  log('found providers', { peers: providers.map(({ id }) => id.toString()).join(' ') });
  const value = await eventually(signal, async (limited) => {
    for await (const event of dht.get(valueKey(config), { signal: limited })) {
      trace(event, log);
      if (event.name === 'VALUE') return Buffer.from(event.value).toString();
    }
    return undefined;
  });
  if (value === undefined) throw notThere('no value was found');
  log('found the value', { value });
  // As the other participants: each says hello in its own words.
  if (!value.includes('hello from')) throw notThere(`the value is ${quote(value, MAX_MESSAGE)}`);
};

const notThere = (what: string): LeanError => new LeanError('ERR_PROTOCOL_VIOLATION', what);

/** Dials the bootstrap. The DHT's queries wait until it is in the routing table. */
const join = async (
  config: KadDhtConfig,
  node: Node,
  signal: AbortSignal,
  log: Log,
): Promise<void> => {
  const key = `${config.testKey}_bootstrap_addr`;
  const published = await fetchFrom(config, key, signal, log);
  let address: ReturnType<typeof multiaddr>;
  try {
    address = multiaddr(published);
  } catch (cause) {
    const held = `${key} held ${quote(published, MAX_MESSAGE)}, which is not a multiaddr`;
    throw new HarnessError('ERR_REDIS', held, { cause });
  }
  const connection = await orAborted(node.dial(address, { signal }), signal);
  log('connected', { address: published, peer: connection.remotePeer.toString() });
};

/** Runs a query to its end. Resolves to whether a peer answered `message`, or was sent it where there is no answer. */
const answered = async (
  events: AsyncIterable<unknown>,
  message: string,
  log: Log,
): Promise<boolean> => {
  let found = false;
  for await (const event of events as AsyncIterable<QueryEvent>) {
    trace(event, log);
    if (event.name === 'PEER_RESPONSE' && event.messageName === message) found = true;
  }
  return found;
};

const trace = (event: QueryEvent, log: Log): void => {
  if (event.name === 'QUERY_ERROR') log('query error', { reason: messageOf(event.error) });
  else log(`query: ${event.name}`);
};

/** What `ask` finds, asked up to {@link ATTEMPTS} times. An iterator that ignores its signal is left behind. */
const eventually = async <T>(
  signal: AbortSignal,
  ask: (limited: AbortSignal) => Promise<T | undefined>,
): Promise<T | undefined> => {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT)]);
    const found = await orAborted(ask(limited), limited).catch((error: unknown) => {
      if (signal.aborted) throw signal.reason;
      if (attempt === ATTEMPTS) throw error;
      return undefined;
    });
    if (found !== undefined) return found;
    await delay(PAUSE, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw signal.reason;
  }
  return undefined;
};

/** The suite's keys are plain text, also where a multihash belongs: its bytes stand for one here. */
const providerKey = ({ testKey }: KadDhtConfig): CID => {
  const bytes = Buffer.from(`interop-test-key-${testKey}`);
  const digest: MultihashDigest = { code: 0, digest: bytes, size: bytes.length, bytes };
  return CID.createV1(RAW, digest);
};

/** The multicodec of raw bytes. */
const RAW = 0x55;

const valueKey = ({ testKey }: KadDhtConfig): Uint8Array => Buffer.from(`/example/data/${testKey}`);

/** One value through Redis, there or back. */
const withRendezvous = async <T>(
  { redis }: KadDhtConfig,
  key: string,
  signal: AbortSignal,
  log: Log,
  use: (rendezvous: ReturnType<typeof openRendezvous>) => Promise<T>,
): Promise<T> => {
  const rendezvous = openRendezvous({ redis, key, signal, log });
  try {
    return await use(rendezvous);
  } finally {
    rendezvous.close();
  }
};

const publishAt = (
  config: KadDhtConfig,
  key: string,
  value: string,
  signal: AbortSignal,
  log: Log,
): Promise<void> =>
  withRendezvous(config, key, signal, log, (rendezvous) => rendezvous.publish(value, 'string'));

const fetchFrom = (
  config: KadDhtConfig,
  key: string,
  signal: AbortSignal,
  log: Log,
): Promise<string> =>
  withRendezvous(config, key, signal, log, (rendezvous) => rendezvous.fetch());
