/**
 * The misc suite (libp2p/unified-testing pull request 22): a listener publishes its address and serves; a dialer
 * fetches it, dials, and pings, echoes or identifies, as PROTOCOL says.
 */

import type { Connection } from '../connection.ts';
import { orAborted, startDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { reachableAddresses } from '../multiaddr.ts';
import type { LeanNode } from '../node/node.ts';
import { ECHO, echo, handleEcho } from '../protocols/echo.ts';
import { identify } from '../protocols/identify.ts';
import type { Log } from './log.ts';
import type { MiscConfig } from './misc-environment.ts';
import { openRendezvous, type Rendezvous } from './rendezvous.ts';
import { milliseconds } from './report.ts';
import { during } from './step.ts';
import {
  bindAddress,
  buildNode,
  checkAddress,
  runTransportTest,
  type TestOptions,
} from './transport-test.ts';

const PAYLOAD = Buffer.from('Hello from the misc echo test of libp2p-lean!');

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires. All
 * sockets are closed when it settles.
 *
 * @throws as `runTransportTest()`, which ping is; what {@link echo} and {@link identify} throw;
 * ERR_PROTOCOL_VIOLATION when the listener says that it has no protocol.
 */
export const runMiscTest = async (config: MiscConfig, options: TestOptions): Promise<void> => {
  if (config.protocol === 'ping') return runTransportTest(config, options);
  const { log } = options;
  const deadline = startDeadline(config.timeout, 'the test', options.signal);
  const { signal } = deadline;
  const rendezvous = openRendezvous({ redis: config.redis, key: config.key, signal, log });
  const building = buildNode(config, log);
  try {
    if (config.role === 'listener') {
      await publish(config, rendezvous, await building, log);
      await orAborted(new Promise<never>(() => undefined), signal);
    } else {
      await options.print(await dial(config, rendezvous, building, signal, log));
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

/** Serves `/echo/1.0.0`; identify every node does. */
const publish = async (
  config: MiscConfig,
  rendezvous: Rendezvous,
  node: LeanNode,
  log: Log,
): Promise<void> => {
  node.handle(ECHO, (stream) => handleEcho(stream));
  const { address: bound } = await node.listen(bindAddress(config));
  const [address = bound] = reachableAddresses(bound);
  await rendezvous.publish(address.toString());
  rendezvous.close();
  log('published', { key: config.key, address: address.toString() });
};

/** Resolves to the report. */
const dial = async (
  config: MiscConfig,
  rendezvous: Rendezvous,
  building: Promise<LeanNode>,
  signal: AbortSignal,
  log: Log,
): Promise<string> => {
  const [published, node] = await Promise.all([rendezvous.fetch(), building]);
  rendezvous.close();
  log('fetched', { key: config.key, address: published });
  const remote = checkAddress(config, published);
  const start = performance.now();
  const connection = await during(`dialling ${remote}`, signal, node.dial(remote, { signal }));
  return config.protocol === 'echo'
    ? measureEcho(connection, signal)
    : measureIdentify(connection, start, signal);
};

/** From the first byte sent until the last one is back: as upstream, without the opening of the stream. */
const measureEcho = async (connection: Connection, signal: AbortSignal): Promise<string> => {
  const stream = await during(
    'opening /echo/1.0.0',
    signal,
    connection.newStream(ECHO, { signal }),
  );
  const start = performance.now();
  await during('the echo', signal, echo(stream, PAYLOAD));
  return report('echo_rtt', performance.now() - start, 'payload_bytes', PAYLOAD.length);
};

/** From the start of the dial, as upstream. */
const measureIdentify = async (
  connection: Connection,
  start: number,
  signal: AbortSignal,
): Promise<string> => {
  const { protocols } = await during('identify', signal, identify(connection, { signal }));
  if (protocols.length === 0) {
    throw new LeanError('ERR_PROTOCOL_VIOLATION', 'identify: the listener names no protocol');
  }
  return report('identify_rtt', performance.now() - start, 'protocol_count', protocols.length);
};

/** The runner picks the lines by these keys and indents (`misc/lib/run-single-test.sh` there). */
const report = (what: string, ms: number, counted: string, count: number): string =>
  `measurements:\n  ${what}: ${milliseconds(ms)}\n  ${counted}: ${count}\n  unit: ms\n`;
