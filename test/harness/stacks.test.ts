/** Every transport, secure channel and muxer of the matrix, by their names, between two processes. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { noRedis, type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };

describe('stacks', { skip: noRedis, ...SUITE }, () => {
  let redis: RedisServer;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.stop());

  for (const transport of ['tcp', 'ws', 'wss']) {
    for (const security of ['noise', 'tls']) {
      for (const muxer of ['yamux', 'mplex']) {
        const unified = muxer === 'yamux';
        const title = `${transport}, ${security}, ${muxer} (${unified ? 'unified' : 'legacy'})`;
        test(title, HANG, async (t) => {
          const run = (isDialer: boolean) => {
            const variables = unified
              ? {
                  IS_DIALER: String(isDialer),
                  TRANSPORT: transport,
                  SECURE_CHANNEL: security,
                  MUXER: muxer,
                  LISTENER_IP: '0.0.0.0',
                  REDIS_ADDR: redis.address,
                  TEST_KEY: `${transport}${security}`,
                  TEST_TIMEOUT_SECS: '50',
                  DEBUG: 'true',
                }
              : {
                  is_dialer: String(isDialer),
                  transport,
                  security,
                  muxer,
                  redis_addr: redis.address,
                  test_timeout_seconds: '50',
                  DEBUG: 'true',
                };
            const participant = start([], variables);
            t.after(() => participant.dispose());
            return participant;
          };
          const listener = run(false);
          const { code, stdout, stderr } = await run(true).ended;
          assert.equal(code, 0, stderr);
          assert.match(stderr, new RegExp(`via=${transport}/${security}/${muxer}\n`));
          assert.match(stdout, unified ? /^latency:\n/ : /^\{"handshakePlusOneRTTMillis": /);
          listener.kill('SIGTERM');
          const ended = await listener.ended;
          assert.deepEqual([ended.code, ended.signal, ended.stdout], [0, null, '']);
        });
      }
    }
  }
});
