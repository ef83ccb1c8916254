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
import { orAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { quic } from '../js-libp2p/transport.ts';
import { quote } from '../printable.ts';
import { HarnessError } from './errors.ts';
import type { KadDhtConfig } from './kad-dht-environment.ts';
import { makeLenient } from './kad-dht-leniency.ts';
import type { Log } from './log.ts';
import { type Run, runRole, type TestOptions } from './roles.ts';

const PROTOCOL = '/ipfs/kad/1.0.0';
/** How often a querier asks before it gives up. */
const ATTEMPTS = 10;
/** How long one answer may take; milliseconds. */
const ANSWER_TIMEOUT = 10_000;
/** Pause between two attempts; milliseconds. */
const PAUSE = 500;
/** The longest error message, or value, that is printed; characters. */
const MAX_MESSAGE = 200;

type Node = Libp2p<{ dht: KadDHT }>;

/**
 * Runs one role: a querier until its result is printed, the others until `signal` fires. All sockets are
 * closed when it settles.
 *
 * @throws as `runRole()`; ERR_REDIS; ERR_PROTOCOL_VIOLATION when what was looked up is not there.
 */
export const runKadDhtTest = (config: KadDhtConfig, options: TestOptions): Promise<void> =>
  runRole(config, options, async (run) => {
    const start = () => run.closeAtEnd(buildNode(config, run.signal), (node) => node.stop());
    if (config.role === 'bootstrap') await bootstrap(config, await start(), run);
    else if (config.role === 'provider') await provide(config, await start(), run);
    else {
      try {
        await query(config, await start(), run);
      } catch (error) {
        await run.print(`error: ${quote(messageOf(error), MAX_MESSAGE)}\nstatus: fail\n`);
        throw error;
      }
      await run.print('status: pass\n');
    }
  });

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
    // The suite's networks have private addresses.
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

/** This machine's address in the network of Redis, which the other participants are in, too. */
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
      // The name of Redis may appear after this process starts.
      if ((error as NodeJS.ErrnoException).code === undefined) throw error;
      await delay(PAUSE, undefined, { signal }).catch(() => undefined);
    } finally {
      socket.close();
    }
  }
};

const bootstrap = async (config: KadDhtConfig, node: Node, run: Run): Promise<void> => {
  const address = node.getMultiaddrs().find((one) => {
    const isQuic = one.toString().includes('/quic-v1');
    return isQuic === (config.transport === 'quic-v1');
  });
  if (address === undefined) throw new LeanError('ERR_LISTEN', 'there is no address to publish');
  const key = `${config.testKey}_bootstrap_addr`;
  await publishAt(run, key, address.toString());
  run.log('published', { key, address: address.toString() });
};

const provide = async (config: KadDhtConfig, node: Node, run: Run): Promise<void> => {
  const { signal, log } = run;
  await join(config, node, run);
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
  await publishAt(run, `${config.testKey}_provider_done`, 'done');
};

const query = async (config: KadDhtConfig, node: Node, run: Run): Promise<void> => {
  const { signal, log } = run;
  await fetchFrom(run, `${config.testKey}_provider_done`);
  await join(config, node, run);
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
  // The same check as in the other participants: each of them stores its own greeting.
  if (!value.includes('hello from')) throw notThere(`the value is ${quote(value, MAX_MESSAGE)}`);
};

const notThere = (what: string): LeanError => new LeanError('ERR_PROTOCOL_VIOLATION', what);

/** Dials the bootstrap. The DHT's queries wait until it is in the routing table. */
const join = async (config: KadDhtConfig, node: Node, run: Run): Promise<void> => {
  const { signal, log } = run;
  const key = `${config.testKey}_bootstrap_addr`;
  const published = await fetchFrom(run, key);
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

/** What `ask` finds, asked up to {@link ATTEMPTS} times. A query that ignores its signal is not waited for. */
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

/** The suite's keys are plain text, even where a multihash is required: their bytes are used as one. */
const providerKey = ({ testKey }: KadDhtConfig): CID => {
  const bytes = Buffer.from(`interop-test-key-${testKey}`);
  const digest: MultihashDigest = { code: 0, digest: bytes, size: bytes.length, bytes };
  return CID.createV1(RAW, digest);
};

/** The multicodec of raw bytes. */
const RAW = 0x55;

const valueKey = ({ testKey }: KadDhtConfig): Uint8Array => Buffer.from(`/example/data/${testKey}`);

const publishAt = async (run: Run, key: string, value: string): Promise<void> => {
  const rendezvous = run.rendezvous(key);
  await rendezvous.publish(value, 'string');
  rendezvous.close();
};

const fetchFrom = async (run: Run, key: string): Promise<string> => {
  const rendezvous = run.rendezvous(key);
  const value = await rendezvous.fetch();
  rendezvous.close();
  return value;
};
