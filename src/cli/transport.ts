/** `libp2p-lean transport`: the participant of the interop matrices, told by the environment. */

import { type Environment, readEnvironment } from '../harness/environment.ts';
import { type Log, noLog } from '../harness/log.ts';
import { runTransportTest } from '../harness/transport-test.ts';
import { EXIT, onTermination, print } from './process.ts';

/** @throws as `readEnvironment()` and `runTransportTest()`. */
export const transport = async (environment: Environment): Promise<number> => {
  const config = readEnvironment(environment);
  const signal = onTermination(config.role === 'listener' ? EXIT.ok : EXIT.failed);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(config.role, {
    dialect: config.dialect,
    transport: config.transport,
    ...(config.secureChannel && { secureChannel: config.secureChannel }),
    ...(config.muxer && { muxer: config.muxer }),
    redis: `${config.redis.host}:${config.redis.port}`,
    key: config.key,
    timeoutMs: config.timeout,
    node: process.version,
  });
  await runTransportTest(config, { signal, log, print });
  return EXIT.ok;
};
