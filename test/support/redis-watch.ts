/** Waits for what clients of a real Redis do, for tests that depend on it. */

import { setTimeout as delay } from 'node:timers/promises';
import type { RedisServer } from '../../interop/redis-server.ts';

/** Between two checks; milliseconds. */
const LOOK = 5;

const until = async (
  redis: RedisServer,
  section: string,
  field: RegExp,
  least: number,
): Promise<void> => {
  for (;;) {
    const info = await redis.send('INFO', section);
    if (Number(field.exec(info)?.[1] ?? 0) >= least) return;
    await delay(LOOK);
  }
};

/** Resolves when this many clients wait in BLPOP. */
export const untilBlocked = (redis: RedisServer, clients = 1): Promise<void> =>
  until(redis, 'clients', /blocked_clients:(\d+)/, clients);

/** Resolves when BLPOP has been called this often. */
export const untilPopped = (redis: RedisServer, calls: number): Promise<void> =>
  until(redis, 'commandstats', /cmdstat_blpop:calls=(\d+)/, calls);
