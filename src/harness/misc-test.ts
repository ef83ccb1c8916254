/**
 * The misc suite (libp2p/unified-testing pull request 22): a listener publishes its address and serves; a dialer
 * fetches it, dials, and pings, echoes or identifies, as PROTOCOL says.
 */

import type { Connection } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { LeanNode } from '../node/node.ts';
import { ECHO, echo, handleEcho } from '../protocols/echo.ts';
import { identify } from '../protocols/identify.ts';
import type { MiscConfig } from './misc-environment.ts';
import type { Rendezvous } from './rendezvous.ts';
import { milliseconds } from './report.ts';
import { type Run, runRole, type TestOptions } from './roles.ts';
import { during } from './step.ts';
import { fetchAddress, publishAddress, startNode } from './test-node.ts';
import { runTransportTest } from './transport-test.ts';

const PAYLOAD = Buffer.from('Hello from the misc echo test of libp2p-lean!');

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires. All
 * sockets are closed when it settles.
 *
 * @throws as `runTransportTest()`, which ping is; what {@link echo} and {@link identify} throw;
 * ERR_PROTOCOL_VIOLATION when the listener says that it has no protocol.
 */
export const runMiscTest = (config: MiscConfig, options: TestOptions): Promise<void> =>
  config.protocol === 'ping'
    ? runTransportTest(config, options)
    : runRole(config, options, async (run) => {
        const rendezvous = run.rendezvous(config.key);
        const starting = startNode(run, config);
        if (config.role === 'listener') {
          const node = await starting;
          // Every node answers identify.
          node.handle(ECHO, (stream) => handleEcho(stream));
          await publishAddress(run, config, node, rendezvous);
        } else {
          await run.print(await measure(config, run, rendezvous, starting));
        }
      });

/** Resolves to the report. */
const measure = async (
  config: MiscConfig,
  run: Run,
  rendezvous: Rendezvous,
  starting: Promise<LeanNode>,
): Promise<string> => {
  const { signal } = run;
  const [remote, node] = await Promise.all([fetchAddress(run, config, rendezvous), starting]);
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
