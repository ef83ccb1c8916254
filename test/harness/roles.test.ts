/** What all roles have in common: how they end, and that nothing which they opened outlasts them. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import { LeanError } from '../../src/errors.ts';
import { noLog } from '../../src/harness/log.ts';
import { reportsResult, runRole, type TestOptions } from '../../src/harness/roles.ts';
import { untilPopped } from '../support/redis-watch.ts';
import { SUITE } from '../support/suite-limit.ts';

const NOBODY = { host: '127.0.0.1', port: 1 };
const config = (role: string, timeout = 20_000) => ({ role, timeout, redis: NOBODY });
const stopped = (controller: AbortController): TestOptions => ({
  signal: controller.signal,
  log: noLog,
  print: async () => {},
});
const code = (wanted: string) => (error: unknown) =>
  error instanceof LeanError && error.code === wanted;

test('dialers and queriers report; the others serve', () => {
  const roles = ['dialer', 'querier', 'listener', 'relay', 'bootstrap', 'provider'];
  assert.deepEqual(roles.filter(reportsResult), ['dialer', 'querier']);
});

describe('a role', SUITE, () => {
  test('that reports ends with its work', async () => {
    await runRole(config('dialer'), stopped(new AbortController()), async () => {});
  });

  test('that serves ends in good order when it is told to, and not before', async () => {
    const controller = new AbortController();
    let ended = false;
    let worked: () => void = () => {};
    const working = new Promise<void>((resolve) => {
      worked = resolve;
    });
    const running = runRole(config('listener'), stopped(controller), async () => worked()).then(
      () => {
        ended = true;
      },
    );
    await working;
    await new Promise(setImmediate);
    assert.equal(ended, false);
    controller.abort(new LeanError('ERR_ABORTED', 'ended by SIGTERM'));
    await running;
  });

  test('that serves fails at its time limit, and one that reports when it is told to end', async () => {
    const serving = runRole(config('listener', 1), stopped(new AbortController()), async () => {});
    await assert.rejects(serving, code('ERR_TIMEOUT'));
    const controller = new AbortController();
    controller.abort(new LeanError('ERR_ABORTED', 'ended by SIGTERM'));
    const reporting = runRole(config('dialer'), stopped(controller), async ({ signal }) => {
      throw signal.reason;
    });
    await assert.rejects(reporting, code('ERR_ABORTED'));
  });

  test('closes what was started, also after it has failed, and does not wait for it for ever', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const closed: string[] = [];
    const running = runRole(config('dialer'), stopped(new AbortController()), async (run) => {
      await run.closeAtEnd(Promise.resolve('node'), (name) => closed.push(name));
      await run.closeAtEnd(Promise.resolve('stuck'), () => new Promise(() => {}));
      run.closeAtEnd(Promise.reject(new Error('no engine')), () => closed.push('nothing'));
      throw new LeanError('ERR_DIAL', 'refused');
    });
    const failed = assert.rejects(running, code('ERR_DIAL'));
    while (closed.length === 0) await new Promise(setImmediate);
    t.mock.timers.tick(5_000);
    await failed;
    assert.deepEqual(closed, ['node']);
  });

  test('leaves no connection to Redis behind', { skip: noRedis }, async (t) => {
    const redis = await startRedis();
    try {
      const where = { ...config('dialer'), redis: { host: '127.0.0.1', port: redis.port } };
      let fetching: Promise<string> | undefined;
      await runRole(where, stopped(new AbortController()), async (run) => {
        fetching = run.rendezvous('nobody-publishes').fetch();
        fetching.catch(() => {});
        await untilPopped(redis, 2);
      });
      await assert.rejects(fetching ?? Promise.resolve(), code('ERR_ABORTED'));
      // A connection for this command, and none else.
      const alone = async () => /connected_clients:1\r/.test(await redis.send('INFO', 'clients'));
      while (!t.signal.aborted && !(await alone()));
    } finally {
      await redis.stop();
    }
  });
});
