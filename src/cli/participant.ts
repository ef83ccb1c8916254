/** Runs the participant of any test suite as a command: until it has reported, or a signal ends it. */

import type { RedisAddress } from '../harness/environment.ts';
import { type Log, noLog } from '../harness/log.ts';
import { reportsResult, type TestOptions } from '../harness/roles.ts';
import { EXIT, onTermination, print } from './process.ts';

interface ParticipantConfig {
  readonly role: string;
  readonly transport: string;
  readonly secureChannel?: string | undefined;
  readonly muxer?: string | undefined;
  readonly redis: RedisAddress;
  readonly timeout: number;
  readonly debug: boolean;
}

/**
 * Runs `run` to its end. Resolves with the exit code.
 *
 * @param title names suite and role in the log.
 * @param detail what is logged besides the configuration.
 * @throws what `run` throws.
 */
export const participate = async <Config extends ParticipantConfig>(
  title: string,
  config: Config,
  run: (config: Config, options: TestOptions) => Promise<void>,
  detail: Readonly<Record<string, unknown>>,
): Promise<number> => {
  const signal = onTermination(reportsResult(config.role) ? EXIT.failed : EXIT.ok);
  const log: Log = config.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  log(title, {
    transport: config.transport,
    ...(config.secureChannel && { secureChannel: config.secureChannel }),
    ...(config.muxer && { muxer: config.muxer }),
    redis: `${config.redis.host}:${config.redis.port}`,
    timeoutMs: config.timeout,
    ...detail,
    node: process.version,
  });
  await run(config, { signal, log, print });
  return EXIT.ok;
};
