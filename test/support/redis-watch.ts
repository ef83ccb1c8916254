/** Waits for what clients of a real Redis do, for tests that depend on it. */

import { setTimeout as delay } from 'node:timers/promises';
import type { RedisServer } from '../../interop/redis-server.ts';

/** Between two checks; milliseconds. */
const LOOK = 5;
/** Milliseconds. */
const PATIENCE = 60_000;

const until = async (
  redis: RedisServer,
  section: string,
  field: RegExp,
  least: number,
): Promise<void> => {
  const start = performance.now();
  // A bound, so that the file ends when a test has failed.
  for (; performance.now() - start < PATIENCE; await delay(LOOK)) {
    const seen = Number(field.exec(await redis.send('INFO', section))?.[1] ?? 0);
    if (seen >= least) return;
  }
  throw new Error(`never ${least} of ${field} in Redis`);
};

/** Resolves when this many clients wait in BLPOP. */
export const untilBlocked = (redis: RedisServer, clients = 1): Promise<void> =>
  until(redis, 'clients', /blocked_clients:(\d+)/, clients);

/** Resolves when BLPOP has been called this often. */
export const untilPopped = (redis: RedisServer, calls: number): Promise<void> =>
  until(redis, 'commandstats', /cmdstat_blpop:calls=(\d+)/, calls);
