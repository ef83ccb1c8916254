/** `libp2p-lean perf` without flags: the participant of the perf suite, told by the environment. */

import type { Environment } from '../harness/environment.ts';
import { type Log, noLog } from '../harness/log.ts';
import { readPerfEnvironment } from '../harness/perf-environment.ts';
import { runPerfTest } from '../harness/perf-test.ts';
import { EXIT, onTermination, print } from './process.ts';

/** @throws as `readPerfEnvironment()` and `runPerfTest()`. */
export const perf = async (environment: Environment): Promise<number> => {
  const config = readPerfEnvironment(environment);
  const signal = onTermination(config.role === 'listener' ? EXIT.ok : EXIT.failed);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(`perf ${config.role}`, {
    transport: config.transport,
    ...(config.secureChannel && { secureChannel: config.secureChannel }),
    ...(config.muxer && { muxer: config.muxer }),
    redis: `${config.redis.host}:${config.redis.port}`,
    key: config.key,
    ...(config.role === 'dialer' && {
      uploads: `${config.uploadIterations} x ${config.uploadBytes}`,
      downloads: `${config.downloadIterations} x ${config.downloadBytes}`,
      roundTrips: config.latencyIterations,
    }),
    timeoutMs: config.runTimeout ?? 'none',
    node: process.version,
  });
  await runPerfTest(config, { signal, log, print });
  return EXIT.ok;
};
