/**
 * The hole-punch participant (libp2p/unified-testing `hole-punch/`, libp2p/test-plans `hole-punch-interop/`): a
 * relay that publishes its multiaddr; a listener behind a NAT that gets a reservation there and publishes its peer
 * id; a dialer behind another NAT that dials it through the relay, waits until the connection has become a direct
 * one, and reports how long that took and how far the listener is.
 */

import type { Connection } from '../connection.ts';
import { orAborted, startDeadline, withDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { type PeerId, parsePeerId } from '../identity/peer-id.ts';
import { circuitOf, withPeer } from '../multiaddr.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { quote } from '../printable.ts';
import { ping } from '../protocols/ping.ts';
import { HarnessError } from './errors.ts';
import type { HolePunchConfig } from './hole-punch-environment.ts';
import { type Log, noLog } from './log.ts';
import { logEvents } from './node-log.ts';
import { openRendezvous, type Rendezvous } from './rendezvous.ts';
import { formatReport, milliseconds } from './report.ts';
import { bindAddress, checkAddress, type TestOptions } from './transport-test.ts';
import { transportUnderTest } from './transports.ts';

/** How long a peer may take to answer one ping, ms. */
const ANSWER_TIMEOUT = 10_000;

/** What a role works with. */
interface Run {
  readonly config: HolePunchConfig;
  readonly node: LeanNode;
  /** Redis, at one of the suite's keys. */
  readonly at: (key: keyof HolePunchConfig['keys']) => Rendezvous;
  readonly signal: AbortSignal;
  readonly log: Log;
}

/** What a dialer has measured; milliseconds. */
interface Punched {
  readonly connection: 'direct' | 'relayed';
  /** From the start of the dial through the relay to a ping answered over `connection`. */
  readonly handshakePlusOneRtt: number;
  /** Of one further ping. */
  readonly pingRtt: number;
  /** From the start until the relayed connection was up. */
  readonly relayedAfter: number;
  /** From then until the direct one was. */
  readonly relayedToDirect: number;
}

/**
 * Runs one role to its end: a dialer until its report is printed, a listener or relay until `signal` fires. All
 * sockets are closed when it settles.
 *
 * @throws ERR_TIMEOUT after `config.timeout`, for a listener and relay too; ERR_ABORTED when `signal` ended a dialer;
 * ERR_REDIS; ERR_ENGINE_UNAVAILABLE; what listening, dialling and pinging throw.
 */
export const runHolePunchTest = async (
  config: HolePunchConfig,
  options: TestOptions,
): Promise<void> => {
  const { log } = options;
  const deadline = startDeadline(config.timeout, 'the test', options.signal);
  const { signal } = deadline;
  const rendezvous = new Set<Rendezvous>();
  const at: Run['at'] = (key) => {
    const one = openRendezvous({ redis: config.redis, key: config.keys[key], signal, log });
    rendezvous.add(one);
    return one;
  };
  const building = createNode({
    dialTimeout: config.timeout,
    transports: [transportUnderTest(config)],
    relay: config.role === 'relay',
  });
  try {
    const node = await building;
    if (log !== noLog) logEvents(node, log);
    const run = { config, node, at, signal, log };
    if (config.role === 'relay') await runRelay(run);
    else if (config.role === 'listener') await runListener(run);
    else await options.print(reportOf(config, await runDialer(run)));
  } catch (error) {
    // To be told to end is how a listener or a relay ends.
    if (config.role === 'dialer' || !options.signal.aborted) throw error;
    log('ended', { reason: messageOf(options.signal.reason) });
  } finally {
    // Ends what still waits for Redis.
    deadline.abort(new LeanError('ERR_ABORTED', 'the test is over'));
    deadline.clear();
    for (const one of rendezvous) one.close();
    await building.then(
      (node) => node.close(),
      () => undefined,
    );
  }
};

const forEver = (signal: AbortSignal): Promise<never> =>
  orAborted(new Promise<never>(() => undefined), signal);

const runRelay = async ({ config, node, at, signal, log }: Run): Promise<void> => {
  await node.listen(bindAddress({ ...config, listenerIp: config.ip }), { signal });
  // Loopback is last.
  const [address] = node.addresses();
  if (address === undefined) throw new LeanError('ERR_LISTEN', 'there is no address to publish');
  await at('relay').publish(address.toString(), 'string');
  log('published', { key: config.keys.relay, address });
  await forEver(signal);
};

/** Listens, so that there is a port to punch through, and fetches the relay's address. */
const join = async ({ config, node, at, signal, log }: Run) => {
  await node.listen(bindAddress({ ...config, listenerIp: config.ip }), { signal });
  const published = await at('relay').fetch();
  log('fetched', { key: config.keys.relay, address: published });
  return checkAddress({ ...config, key: config.keys.relay }, published);
};

const runListener = async (run: Run): Promise<void> => {
  const { config, node, at, signal, log } = run;
  const relay = await join(run);
  await node.listen(circuitOf(relay), { signal });
  const as = config.dialect === 'legacy' ? 'list' : 'string';
  await at('listener').publish(node.peerId.toString(), as);
  log('published', { key: config.keys.listener, peer: node.peerId });
  await forEver(signal);
};

const runDialer = async (run: Run): Promise<Punched> => {
  const { config, node, at, signal, log } = run;
  const relay = await join(run);
  // It must have told us how it sees us before there is anything to punch.
  await node.dial(relay, { signal });
  const peer = peerIdIn(config.keys.listener, await at('listener').fetch());
  log('fetched', { key: config.keys.listener, peer });

  const direct = firstDirect(node, peer);
  const address = withPeer(circuitOf(relay), peer);
  const start = performance.now();
  const relayed = await node.dial(address, { signal });
  const relayedAt = performance.now();
  log('relayed', { after: relayedAt - start });
  const found = await within(config.punchTimeout, direct, signal);
  const connection = found?.connection ?? relayed;
  if (found !== undefined)
    log('direct', { after: found.at - relayedAt, via: connection.description });

  const pinging = () => orAborted(ping(connection, { signal, timeout: ANSWER_TIMEOUT }), signal);
  await pinging();
  const handshakePlusOneRtt = performance.now() - start;
  return {
    connection: found === undefined ? 'relayed' : 'direct',
    handshakePlusOneRtt,
    pingRtt: await pinging(),
    relayedAfter: relayedAt - start,
    relayedToDirect: Math.max(0, (found?.at ?? relayedAt) - relayedAt),
  };
};

interface Direct {
  readonly connection: Connection;
  /** On the clock of `performance.now()`. */
  readonly at: number;
}

/** The first connection to `peer` that leads through no relay, whoever makes it. */
const firstDirect = (node: LeanNode, peer: PeerId): Promise<Direct> =>
  new Promise((resolve) => {
    node.addEventListener('connection:open', ({ detail: { connection } }) => {
      if (connection.circuit === undefined && connection.remotePeer.equals(peer)) {
        resolve({ connection, at: performance.now() });
      }
    });
  });

/** @returns undefined when it did not come to be within `ms`. @throws the signal's reason */
const within = async (
  ms: number | undefined,
  direct: Promise<Direct>,
  signal: AbortSignal,
): Promise<Direct | undefined> => {
  if (ms === undefined) return orAborted(direct, signal);
  try {
    return await withDeadline(direct, ms, 'the hole punch', undefined, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
};

/** @throws ERR_REDIS when what Redis held is no peer id. */
const peerIdIn = (key: string, held: string): PeerId => {
  try {
    return parsePeerId(held);
  } catch (cause) {
    const what = `${key} held ${quote(held, 200)}, which is not a peer id`;
    throw new HarnessError('ERR_REDIS', what, { cause });
  }
};

/** What a dialer prints, in the form that each suite looks for; more where it was told how long to wait. */
const reportOf = (config: HolePunchConfig, punched: Punched): string => {
  if (config.dialect === 'legacy') {
    return `{"rtt_to_holepunched_peer_millis": ${Math.round(punched.pingRtt)}}\n`;
  }
  const report = formatReport('unified', punched);
  if (config.punchTimeout === undefined) return report;
  return [
    `${report}hole_punch:`,
    `  connection: ${punched.connection}`,
    `  relayed_after: ${milliseconds(punched.relayedAfter)}`,
    ...(punched.connection === 'direct'
      ? [`  relayed_to_direct: ${milliseconds(punched.relayedToDirect)}`]
      : []),
    '',
  ].join('\n');
};
