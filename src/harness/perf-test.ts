/**
 * The perf test: a listener publishes its address and serves transfers; a dialer fetches it, measures
 * uploads, downloads and round trips on one connection, a stream each, and reports
 * (libp2p/unified-testing `docs/write-a-perf-test-app.md`).
 */

import type { Connection } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { MAX_TIMEOUT } from '../limit-ranges.ts';
import type { LeanNode } from '../node/node.ts';
import { PERF } from '../protocols/perf.ts';
import type { Log } from './log.ts';
import type { PerfConfig } from './perf-environment.ts';
import { formatPerfReport, type PerfMeasurement } from './perf-report.ts';
import { handleEitherPerf, type PerfRequest, probeRequest, requestPerf } from './perf-requests.ts';
import { runRole, type TestOptions } from './roles.ts';
import { during } from './step.ts';
import { fetchAddress, publishAddress, startNode } from './test-node.ts';

/** A transfer fails, on either side, when nothing moves for this time; milliseconds. */
const STALL_TIMEOUT = 10_000;

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires.
 * All sockets are closed when it settles. If the environment sets no time limit for the run, `config.timeout` limits the
 * time until the connection is up, and from then on only the stall timeout applies.
 *
 * @throws as `runRole()` after `config.runTimeout`; ERR_TIMEOUT when a transfer stalls; ERR_REDIS;
 * ERR_ENGINE_UNAVAILABLE; what listening, dialling and transfers throw.
 */
export const runPerfTest = (config: PerfConfig, options: TestOptions): Promise<void> =>
  runRole({ ...config, timeout: config.runTimeout ?? MAX_TIMEOUT }, options, async (run) => {
    const { signal, log } = run;
    const meeting = startDeadline(config.timeout, 'the test', signal);
    try {
      const rendezvous = run.rendezvous(config.key, meeting.signal);
      const starting = startNode(run, config);
      if (config.role === 'listener') {
        const node = await starting;
        serve(node, log);
        // The suite's reference dialers expect a string in Redis.
        await publishAddress(run, config, node, rendezvous, 'string');
        return;
      }
      const fetching = fetchAddress(run, config, rendezvous);
      const [remote, node] = await Promise.all([fetching, starting]);
      const dialling = node.dial(remote, { signal: meeting.signal });
      const connection = await during(`dialling ${remote}`, meeting.signal, dialling);
      meeting.clear();
      await run.print(formatPerfReport(await measure(config, connection, signal, log)));
    } finally {
      meeting.clear();
    }
  });

const serve = (node: LeanNode, log: Log): void =>
  node.handle(PERF, async (stream, { remotePeer }) => {
    const served = await handleEitherPerf(stream, { stallTimeout: STALL_TIMEOUT });
    log('served', { peer: remotePeer.toString(), ...served });
  });

/** All uploads, then all downloads, then the round trips of one byte each way. */
const measure = async (
  config: PerfConfig,
  connection: Connection,
  signal: AbortSignal,
  log: Log,
): Promise<PerfMeasurement> => {
  const options = { stallTimeout: STALL_TIMEOUT };
  const open = () => connection.newStream(PERF, { signal });
  const probing = open().then((stream) => probeRequest(stream, options));
  const request: PerfRequest = await during('the first request', signal, probing);
  log('measuring', { request });

  const repeat = async (
    what: string,
    iterations: number,
    [up, down]: readonly [number, number],
    sampleOf: (milliseconds: number) => number,
  ): Promise<number[]> => {
    const samples: number[] = [];
    while (samples.length < iterations) {
      const step = `${what} ${samples.length + 1} of ${iterations}`;
      const start = performance.now();
      // One time for both directions, as in the suite's images: a transfer is over when the other side has
      // received all of it and answered.
      const transfer = open().then((stream) => requestPerf(stream, request, up, down, options));
      await during(step, signal, transfer);
      const sample = sampleOf(performance.now() - start);
      samples.push(sample);
      log(step, { sample });
    }
    return samples;
  };
  const { uploadBytes, downloadBytes } = config;
  return {
    upload: await repeat('upload', config.uploadIterations, [uploadBytes, 0], (ms) =>
      gigabitsPerSecond(uploadBytes, ms),
    ),
    download: await repeat('download', config.downloadIterations, [0, downloadBytes], (ms) =>
      gigabitsPerSecond(downloadBytes, ms),
    ),
    latency: await repeat('round trip', config.latencyIterations, [1, 1], (ms) => ms),
  };
};

const gigabitsPerSecond = (bytes: number, milliseconds: number): number =>
  (bytes * 8) / milliseconds / 1e6;
