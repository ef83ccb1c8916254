/**
 * The perf test: a listener publishes its address and serves transfers; a dialer fetches it, measures
 * uploads, downloads and round trips on one connection, a stream each, and reports
 * (libp2p/unified-testing `docs/write-a-perf-test-app.md`).
 */

import type { Connection } from '../connection.ts';
import { orAborted, startDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { reachableAddresses } from '../multiaddr.ts';
import type { LeanNode } from '../node/node.ts';
import { PERF } from '../protocols/perf.ts';
import type { Log } from './log.ts';
import type { PerfConfig } from './perf-environment.ts';
import { formatPerfReport, type PerfMeasurement } from './perf-report.ts';
import { handleEitherPerf, type PerfRequest, probeRequest, requestPerf } from './perf-requests.ts';
import { openRendezvous, type Rendezvous } from './rendezvous.ts';
import { during } from './step.ts';
import { bindAddress, buildNode, checkAddress, type TestOptions } from './transport-test.ts';

/** Milliseconds without a byte after which a transfer has failed, on either side. */
const STALL_TIMEOUT = 10_000;
/** How far a dialer's transfers may be from ending when nobody bounds the run: a timer's reach, ms. */
const UNBOUNDED = 2 ** 31 - 1;

/**
 * Runs one role to its end: a dialer until its report is printed, a listener until `signal` fires.
 * All sockets are closed when it settles. What has no bound in the environment is bounded by
 * `config.timeout` up to the connection and by the stall timeout from there.
 *
 * @throws ERR_TIMEOUT after `config.runTimeout`, for a listener too, and when a transfer stalls;
 * ERR_ABORTED when `signal` ended a dialer; ERR_REDIS; ERR_ENGINE_UNAVAILABLE; what listening,
 * dialling and transfers throw.
 */
export const runPerfTest = async (config: PerfConfig, options: TestOptions): Promise<void> => {
  const { log } = options;
  const deadline = startDeadline(config.runTimeout ?? UNBOUNDED, 'the test', options.signal);
  const meeting = startDeadline(config.timeout, 'the test', deadline.signal);
  const { redis, key } = config;
  const rendezvous = openRendezvous({ redis, key, signal: meeting.signal, log });
  const building = buildNode(config, log);
  try {
    if (config.role === 'listener') {
      await publish(config, rendezvous, await building, log);
      meeting.clear();
      await orAborted(new Promise<never>(() => undefined), deadline.signal);
    } else {
      const connection = await connect(config, rendezvous, building, meeting.signal, log);
      meeting.clear();
      const measured = await measure(config, connection, deadline.signal, log);
      await options.print(formatPerfReport(measured));
    }
  } catch (error) {
    // To be told to end is how a listener ends.
    if (config.role === 'dialer' || !options.signal.aborted) throw error;
    log('ended', { reason: messageOf(options.signal.reason) });
  } finally {
    // Ends what still waits for Redis.
    deadline.abort(new LeanError('ERR_ABORTED', 'the test is over'));
    meeting.clear();
    deadline.clear();
    rendezvous.close();
    await building.then(
      (node) => node.close(),
      () => undefined,
    );
  }
};

/** Serves transfers; the suite's reference dialers expect a string in Redis. */
const publish = async (
  config: PerfConfig,
  rendezvous: Rendezvous,
  node: LeanNode,
  log: Log,
): Promise<void> => {
  node.handle(PERF, async (stream, { remotePeer }) => {
    const served = await handleEitherPerf(stream, { stallTimeout: STALL_TIMEOUT });
    log('served', { peer: remotePeer.toString(), ...served });
  });
  const { address: bound } = await node.listen(bindAddress(config));
  const [address = bound] = reachableAddresses(bound);
  await rendezvous.publish(address.toString(), 'string');
  rendezvous.close();
  log('published', { key: config.key, address: address.toString() });
};

const connect = async (
  config: PerfConfig,
  rendezvous: Rendezvous,
  building: Promise<LeanNode>,
  signal: AbortSignal,
  log: Log,
): Promise<Connection> => {
  const [published, node] = await Promise.all([rendezvous.fetch(), building]);
  rendezvous.close();
  log('fetched', { key: config.key, address: published });
  const remote = checkAddress(config, published);
  return during(`dialling ${remote}`, signal, node.dial(remote, { signal }));
};

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
      // What perf() gives apart, this measures as one, like the suite's images: a transfer is over
      // when the other side has had all of it and said so.
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
