/**
 * The hole-punch participant (libp2p/unified-testing `hole-punch/`, libp2p/test-plans `hole-punch-interop/`): a
 * relay that publishes its multiaddr; a listener behind a NAT that gets a reservation there and publishes its peer
 * id; a dialer behind another NAT that dials it through the relay, waits for a direct connection, and reports
 * how long that took and the round-trip time.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { orAborted, withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { type PeerId, parsePeerId } from '../identity/peer-id.ts';
import { circuitOf, withPeer } from '../multiaddr.ts';
import type { LeanNode } from '../node/node.ts';
import { quote } from '../printable.ts';
import { ping } from '../protocols/ping.ts';
import { HarnessError } from './errors.ts';
import type { HolePunchConfig } from './hole-punch-environment.ts';
import type { Rendezvous } from './rendezvous.ts';
import { formatReport, milliseconds } from './report.ts';
import { type Run, runRole, type TestOptions } from './roles.ts';
import { bindAddress, fetchAddress, startNode } from './test-node.ts';

/** How long a peer may take to answer one ping; milliseconds. */
const ANSWER_TIMEOUT = 10_000;

/** What each role works with. */
interface Setting {
  readonly run: Run;
  readonly config: HolePunchConfig;
  readonly node: LeanNode;
  /** Redis, at one of the suite's keys. */
  readonly at: (key: keyof HolePunchConfig['keys']) => Rendezvous;
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
 * @throws as `runRole()`; ERR_REDIS; ERR_ENGINE_UNAVAILABLE; what listening, dialling and pinging throw.
 */
export const runHolePunchTest = (config: HolePunchConfig, options: TestOptions): Promise<void> =>
  runRole(config, options, async (run) => {
    const node = await startNode(run, config, { relay: config.role === 'relay' });
    const at: Setting['at'] = (key) => run.rendezvous(config.keys[key]);
    const setting = { run, config, node, at };
    await node.listen(bindAddress({ ...config, listenerIp: config.ip }), { signal: run.signal });
    if (config.role === 'relay') await publishRelay(setting);
    else if (config.role === 'listener') await publishListener(setting);
    else await run.print(reportOf(config, await punch(setting)));
  });

const publishRelay = async ({ run, config, node, at }: Setting): Promise<void> => {
  // Loopback is last.
  const [address] = node.addresses();
  if (address === undefined) throw new LeanError('ERR_LISTEN', 'there is no address to publish');
  await at('relay').publish(address.toString(), 'string');
  run.log('published', { key: config.keys.relay, address });
};

const fetchRelay = ({ run, config, at }: Setting): Promise<Multiaddr> =>
  fetchAddress(run, { ...config, key: config.keys.relay }, at('relay'));

const publishListener = async (setting: Setting): Promise<void> => {
  const { run, config, node, at } = setting;
  const relay = await fetchRelay(setting);
  await node.listen(circuitOf(relay), { signal: run.signal });
  const as = config.dialect === 'legacy' ? 'list' : 'string';
  await at('listener').publish(node.peerId.toString(), as);
  run.log('published', { key: config.keys.listener, peer: node.peerId });
};

const punch = async (setting: Setting): Promise<Punched> => {
  const { run, config, node, at } = setting;
  const { signal, log } = run;
  const relay = await fetchRelay(setting);
  // A hole is punched for the address that the relay observes.
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

/** The first connection to `peer` that is not relayed, whichever side dials it. */
const firstDirect = (node: LeanNode, peer: PeerId): Promise<Direct> =>
  new Promise((resolve) => {
    node.addEventListener('connection:open', ({ detail: { connection } }) => {
      if (connection.circuit === undefined && connection.remotePeer.equals(peer)) {
        resolve({ connection, at: performance.now() });
      }
    });
  });

/** @returns undefined when there is none within `ms`. @throws the signal's reason */
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

/** What a dialer prints, in the form that its suite parses; with a punch timeout there is more. */
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
