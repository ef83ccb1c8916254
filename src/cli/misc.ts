/** `libp2p-lean misc`: the participant of unified-testing's misc suite, told by the environment. */

import type { Environment } from '../harness/environment.ts';
import { type Log, noLog } from '../harness/log.ts';
import { readMiscEnvironment } from '../harness/misc-environment.ts';
import { runMiscTest } from '../harness/misc-test.ts';
import { EXIT, onTermination, print } from './process.ts';

/** @throws as `readMiscEnvironment()` and `runMiscTest()`. */
export const misc = async (environment: Environment): Promise<number> => {
  const config = readMiscEnvironment(environment);
  const signal = onTermination(config.role === 'listener' ? EXIT.ok : EXIT.failed);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(`misc ${config.protocol} ${config.role}`, {
    transport: config.transport,
    ...(config.secureChannel && { secureChannel: config.secureChannel }),
    ...(config.muxer && { muxer: config.muxer }),
    redis: `${config.redis.host}:${config.redis.port}`,
    key: config.key,
    timeoutMs: config.timeout,
    node: process.version,
  });
  await runMiscTest(config, { signal, log, print });
  return EXIT.ok;
};
