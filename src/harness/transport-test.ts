/**
 * The transport test: a listener publishes its address and answers pings; a dialer fetches it, dials,
 * pings and reports (libp2p/test-plans `transport-interop/README.md`, libp2p/unified-testing
 * `docs/write-a-transport-test-app.md`).
 */

import type { LeanNode } from '../node/node.ts';
import { PING, ping } from '../protocols/ping.ts';
import type { HarnessConfig } from './environment.ts';
import type { Rendezvous } from './rendezvous.ts';
import { formatReport, type Measurement } from './report.ts';
import { type Run, runRole, type TestOptions } from './roles.ts';
import { during } from './step.ts';
import { fetchAddress, publishAddress, startNode } from './test-node.ts';

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires.
 * All sockets are closed when it settles.
 *
 * @throws as `runRole()`; ERR_REDIS; ERR_ENGINE_UNAVAILABLE; what listening, dialling and pinging throw.
 */
export const runTransportTest = (config: HarnessConfig, options: TestOptions): Promise<void> =>
  runRole(config, options, async (run) => {
    const rendezvous = run.rendezvous(config.key);
    const starting = startNode(run, config);
    if (config.role === 'listener') {
      await publishAddress(run, config, await starting, rendezvous);
    } else {
      const measured = await measure(config, run, rendezvous, starting);
      await run.print(formatReport(config.dialect, measured));
    }
  });

const measure = async (
  config: HarnessConfig,
  run: Run,
  rendezvous: Rendezvous,
  starting: Promise<LeanNode>,
): Promise<Measurement> => {
  const { signal, log } = run;
  const [remote, node] = await Promise.all([fetchAddress(run, config, rendezvous), starting]);
  const dialling = `dialling ${remote}`;
  const pinging = `pinging ${remote}`;
  // As long as the test: where many packets are lost, what is sent again comes late.
  const answerTimeout = config.timeout;

  const start = performance.now();
  const connection = await during(dialling, signal, node.dial(remote, { signal }));
  const connected = performance.now();
  const stream = await during(pinging, signal, connection.newStream(PING, { signal }));
  await during(pinging, signal, ping(stream, { timeout: answerTimeout }));
  const handshakePlusOneRtt = performance.now() - start;
  log('first ping answered', { handshake: connected - start, handshakePlusOneRtt });
  const pingRtt = await during(pinging, signal, ping(stream, { timeout: answerTimeout }));
  log('second ping answered', { pingRtt });
  stream.closeWrite();
  return { handshakePlusOneRtt, pingRtt };
};
