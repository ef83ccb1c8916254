/** `libp2p-lean perf` without flags: the participant of the perf suite; the environment configures it. */

import type { Environment } from '../harness/environment.ts';
import { readPerfEnvironment } from '../harness/perf-environment.ts';
import { runPerfTest } from '../harness/perf-test.ts';
import { participate } from './participant.ts';

/** @throws as `readPerfEnvironment()` and `runPerfTest()`. */
export const perf = async (environment: Environment): Promise<number> => {
  const config = readPerfEnvironment(environment);
  return participate(`perf ${config.role}`, config, runPerfTest, {
    key: config.key,
    ...(config.role === 'dialer' && {
      uploads: `${config.uploadIterations} x ${config.uploadBytes}`,
      downloads: `${config.downloadIterations} x ${config.downloadBytes}`,
      roundTrips: config.latencyIterations,
    }),
    timeoutMs: config.runTimeout ?? 'none',
  });
};
