/** `libp2p-lean kad-dht`: the participant of unified-testing's kad-dht suite, told by the environment. */

import type { Environment } from '../harness/environment.ts';
import { readKadDhtEnvironment } from '../harness/kad-dht-environment.ts';
import { runKadDhtTest } from '../harness/kad-dht-test.ts';
import { type Log, noLog } from '../harness/log.ts';
import { EXIT, onTermination, print } from './process.ts';

/** @throws as `readKadDhtEnvironment()` and `runKadDhtTest()`. */
export const kadDht = async (environment: Environment): Promise<number> => {
  const config = readKadDhtEnvironment(environment);
  const signal = onTermination(config.role === 'querier' ? EXIT.failed : EXIT.ok);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(config.role, {
    transport: config.transport,
    redis: `${config.redis.host}:${config.redis.port}`,
    testKey: config.testKey,
    timeoutMs: config.timeout,
    node: process.version,
  });
  await runKadDhtTest(config, { signal, log, print });
  return EXIT.ok;
};
