/** `libp2p-lean hole-punch`: the participant of the hole-punch suites, told by the environment. */

import type { Environment } from '../harness/environment.ts';
import { readHolePunchEnvironment } from '../harness/hole-punch-environment.ts';
import { runHolePunchTest } from '../harness/hole-punch-test.ts';
import { type Log, noLog } from '../harness/log.ts';
import { EXIT, onTermination, print } from './process.ts';

/** @throws as `readHolePunchEnvironment()` and `runHolePunchTest()`. */
export const holePunch = async (environment: Environment): Promise<number> => {
  const config = readHolePunchEnvironment(environment);
  const signal = onTermination(config.role === 'dialer' ? EXIT.failed : EXIT.ok);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(`hole-punch ${config.role}`, {
    dialect: config.dialect,
    transport: config.transport,
    ...(config.secureChannel && { secureChannel: config.secureChannel }),
    ...(config.muxer && { muxer: config.muxer }),
    ip: config.ip,
    redis: `${config.redis.host}:${config.redis.port}`,
    ...config.keys,
    timeoutMs: config.timeout,
    node: process.version,
  });
  await runHolePunchTest(config, { signal, log, print });
  return EXIT.ok;
};
