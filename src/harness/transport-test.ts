/**
 * The transport test: a listener publishes its address and answers pings; a dialer fetches it, dials,
 * pings and reports (libp2p/test-plans `transport-interop/README.md`, libp2p/unified-testing
 * `docs/write-a-transport-test-app.md`).
 */

import { isIP } from 'node:net';
import type { Multiaddr } from '@multiformats/multiaddr';
import { orAborted, startDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { kindOf, parseMultiaddr, peerOf, reachableAddresses } from '../multiaddr.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { quote } from '../printable.ts';
import { PING, ping } from '../protocols/ping.ts';
import type { HarnessConfig } from './environment.ts';
import { HarnessError } from './errors.ts';
import { type Log, noLog } from './log.ts';
import { logEvents } from './node-log.ts';
import { openRendezvous, type Rendezvous } from './rendezvous.ts';
import { formatReport, type Measurement } from './report.ts';
import { transportUnderTest } from './transports.ts';

export interface TestOptions {
  /** Ends the run early; its reason is a LeanError. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Takes the dialer's report; resolves when it has left the process. */
  readonly print: (report: string) => Promise<void>;
}

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires.
 * All sockets are closed when it settles.
 *
 * @throws ERR_TIMEOUT after `config.timeout`, for a listener too; ERR_ABORTED when `signal` ended a
 * dialer; ERR_REDIS; ERR_ENGINE_UNAVAILABLE; what listening, dialling and pinging throw.
 */
export const runTransportTest = async (
  config: HarnessConfig,
  options: TestOptions,
): Promise<void> => {
  const { log } = options;
  const deadline = startDeadline(config.timeout, 'the test', options.signal);
  const { signal } = deadline;
  const rendezvous = openRendezvous({ redis: config.redis, key: config.key, signal, log });
  const building = buildNode(config, log);
  try {
    if (config.role === 'listener') {
      await runListener(config, rendezvous, await building, signal, log);
    } else {
      const measured = await runDialer(config, rendezvous, building, signal, log);
      await options.print(formatReport(config.dialect, measured));
    }
  } catch (error) {
    // To be told to end is how a listener ends.
    if (config.role === 'dialer' || !options.signal.aborted) throw error;
    log('ended', { reason: messageOf(options.signal.reason) });
  } finally {
    // Ends what still waits for Redis.
    deadline.abort(new LeanError('ERR_ABORTED', 'the test is over'));
    deadline.clear();
    rendezvous.close();
    await building.then(
      (node) => node.close(),
      () => undefined,
    );
  }
};

/** Fails at once where the QUIC engine is missing, before anybody waits for Redis. */
export const buildNode = async (config: HarnessConfig, log: Log): Promise<LeanNode> => {
  const node = await createNode({
    dialTimeout: config.timeout,
    transports: [transportUnderTest(config)],
  });
  if (log !== noLog) logEvents(node, log);
  await node.prepare({ role: config.role });
  return node;
};

/** Publishes, then serves until `signal` fires. */
const runListener = async (
  config: HarnessConfig,
  rendezvous: Rendezvous,
  node: LeanNode,
  signal: AbortSignal,
  log: Log,
): Promise<void> => {
  const { address: bound } = await node.listen(bindAddress(config));
  const [address = bound] = reachableAddresses(bound);
  await rendezvous.publish(address.toString());
  rendezvous.close();
  log('published', { key: config.key, address: address.toString() });
  await orAborted(new Promise<never>(() => undefined), signal);
};

const runDialer = async (
  config: HarnessConfig,
  rendezvous: Rendezvous,
  building: Promise<LeanNode>,
  signal: AbortSignal,
  log: Log,
): Promise<Measurement> => {
  const [published, node] = await Promise.all([rendezvous.fetch(), building]);
  rendezvous.close();
  log('fetched', { key: config.key, address: published });
  const remote = checkAddress(config, published);

  /** Names the step in whatever goes wrong with it. */
  const during = async <T>(step: string, work: Promise<T>): Promise<T> => {
    try {
      return await orAborted(work, signal);
    } catch (error) {
      const { reason } = signal;
      if (reason instanceof LeanError)
        throw new LeanError(reason.code, `${reason.message}, ${step}`);
      const code = error instanceof LeanError ? error.code : 'ERR_DIAL';
      throw new LeanError(code, `${step}: ${messageOf(error)}`, { cause: error });
    }
  };
  const dialling = `dialling ${remote}`;
  const pinging = `pinging ${remote}`;
  // No less than the test: where much is lost, what is sent again comes late.
  const answerTimeout = config.timeout;

  const start = performance.now();
  const connection = await during(dialling, node.dial(remote, { signal }));
  const connected = performance.now();
  const stream = await during(pinging, connection.newStream(PING, { signal }));
  await during(pinging, ping(stream, { timeout: answerTimeout }));
  const handshakePlusOneRtt = performance.now() - start;
  log('first ping answered', { handshake: connected - start, handshakePlusOneRtt });
  const pingRtt = await during(pinging, ping(stream, { timeout: answerTimeout }));
  log('second ping answered', { pingRtt });
  stream.closeWrite();
  return { handshakePlusOneRtt, pingRtt };
};

/** @throws ERR_REDIS when what Redis held is not an address of the transport under test. */
export const checkAddress = (
  config: Pick<HarnessConfig, 'transport' | 'key'>,
  published: string,
): Multiaddr => {
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

/** Where a listener listens: any free port. */
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
