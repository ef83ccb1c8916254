/** The node of a dialer or listener under test, and the exchange of the listener's address. */

import { isIP } from 'node:net';
import type { Multiaddr } from '@multiformats/multiaddr';
import { kindOf, parseMultiaddr, peerOf, reachableAddresses } from '../multiaddr.ts';
import { createNode, type LeanNode, type NodeOptions } from '../node/node.ts';
import { quote } from '../printable.ts';
import type { HarnessConfig } from './environment.ts';
import { HarnessError } from './errors.ts';
import { type Log, noLog } from './log.ts';
import { logEvents } from './node-log.ts';
import type { Rendezvous } from './rendezvous.ts';
import type { Run } from './roles.ts';
import { type Stack, transportUnderTest } from './transports.ts';

interface NodeConfig extends Stack {
  readonly role: string;
  /** Milliseconds that a dial, or a handshake of either side, may take: the whole test's. */
  readonly timeout: number;
}

/** Starts the node of a run. */
export const startNode = (
  run: Run,
  config: NodeConfig,
  options: Pick<NodeOptions, 'relay'> = {},
): Promise<LeanNode> => run.closeAtEnd(buildNode(config, run.log, options), (node) => node.close());

/** Fails at once where the QUIC engine is missing, before anybody waits for Redis. */
const buildNode = async (
  config: NodeConfig,
  log: Log,
  options: Pick<NodeOptions, 'relay'>,
): Promise<LeanNode> => {
  const node = await createNode({
    dialTimeout: config.timeout,
    limits: { handshakeTimeout: config.timeout },
    transports: [transportUnderTest(config)],
    ...options,
  });
  if (log !== noLog) logEvents(node, log);
  await node.prepare({ role: config.role === 'dialer' ? 'dialer' : 'listener' });
  return node;
};

type Meeting = Pick<HarnessConfig, 'transport' | 'listenerIp' | 'key'>;

/** Listener: listens, publishes its address (not on loopback, if there is another), and disconnects from Redis. */
export const publishAddress = async (
  { log }: Run,
  config: Meeting,
  node: LeanNode,
  rendezvous: Rendezvous,
  as: 'list' | 'string' = 'list',
): Promise<void> => {
  const { address: bound } = await node.listen(bindAddress(config));
  const [address = bound] = reachableAddresses(bound);
  await rendezvous.publish(address.toString(), as);
  rendezvous.close();
  log('published', { key: config.key, address: address.toString() });
};

/**
 * Dialer: waits for the listener's address, and disconnects from Redis.
 *
 * @throws ERR_REDIS when what Redis held is not an address of the transport under test.
 */
export const fetchAddress = async (
  { log }: Run,
  config: Omit<Meeting, 'listenerIp'>,
  rendezvous: Rendezvous,
): Promise<Multiaddr> => {
  const published = await rendezvous.fetch();
  rendezvous.close();
  log('fetched', { key: config.key, address: published });
  const held = `${config.key} held ${quote(published, 200)}`;
  let address: Multiaddr;
  try {
    address = parseMultiaddr(published);
    peerOf(address);
  } catch (cause) {
    throw new HarnessError('ERR_REDIS', `${held}, which is not a multiaddr`, { cause });
  }
  if (kindOf(address) !== config.transport) {
    throw new HarnessError('ERR_REDIS', `${held}, which is not a ${config.transport} address`);
  }
  return address;
};

/** The address that a listener binds, with any free port. */
export const bindAddress = ({
  transport,
  listenerIp,
}: Pick<HarnessConfig, 'transport' | 'listenerIp'>): string => {
  // isIPv6() compiles its long pattern at the first call, 5 ms, for an IPv4 address too.
  const host = `/${isIP(listenerIp) === 6 ? 'ip6' : 'ip4'}/${listenerIp}`;
  return transport === 'quic-v1'
    ? `${host}/udp/0/quic-v1`
    : `${host}/tcp/0${transport === 'tcp' ? '' : transport === 'ws' ? '/ws' : '/tls/ws'}`;
};
