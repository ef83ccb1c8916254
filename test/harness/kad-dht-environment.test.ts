/** What the kad-dht suite's participant reads of its environment. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isHarnessError } from '../../src/harness/errors.ts';
import { readKadDhtEnvironment } from '../../src/harness/kad-dht-environment.ts';

/** As upstream's kad-dht/lib/run-single-test.sh sets it, and nothing else. */
const UPSTREAM = { ROLE: 'querier', REDIS_ADDR: 'transport-redis:6379', TEST_KEY: 'a5b50d5e' };

describe('the environment of the kad-dht suite', () => {
  test('what upstream sets is enough', () => {
    assert.deepEqual(readKadDhtEnvironment(UPSTREAM), {
      role: 'querier',
      redis: { host: 'transport-redis', port: 6379 },
      testKey: 'a5b50d5e',
      transport: 'both',
      listenerIp: undefined,
      timeout: 180_000,
      debug: false,
      quicEngine: 'auto',
    });
  });

  test('what else can be said', () => {
    const more = {
      ...UPSTREAM,
      ROLE: 'bootstrap',
      TRANSPORT: 'quic-v1',
      LISTENER_IP: '127.0.0.1',
      TEST_TIMEOUT_SECS: '20',
      DEBUG: 'true',
      QUIC_ENGINE: 'quiche',
    };
    const config = readKadDhtEnvironment(more);
    assert.equal(config.role, 'bootstrap');
    assert.equal(config.transport, 'quic-v1');
    assert.equal(config.listenerIp, '127.0.0.1');
    assert.equal(config.timeout, 20_000);
    assert.equal(config.debug, true);
    assert.equal(config.quicEngine, 'quiche');
  });

  for (const [name, value, message] of [
    ['ROLE', '', /^ROLE is not set; it must be one of bootstrap, provider, querier$/],
    ['ROLE', 'dialer', /^ROLE is "dialer"; it must be one of bootstrap, provider, querier$/],
    ['REDIS_ADDR', 'null', /^REDIS_ADDR is not set/],
    ['REDIS_ADDR', 'http://x', /^REDIS_ADDR is "http:/],
    ['TEST_KEY', '', /^TEST_KEY is not set/],
    ['TRANSPORT', 'ws', /^TRANSPORT is "ws"; it must be one of tcp, quic-v1, both$/],
    ['LISTENER_IP', 'everywhere', /^LISTENER_IP is "everywhere"/],
    ['TEST_TIMEOUT_SECS', 'soon', /^TEST_TIMEOUT_SECS is "soon"/],
    ['DEBUG', '1', /^DEBUG is "1"; it must be one of true, false$/],
    ['QUIC_ENGINE', 'steam', /^QUIC_ENGINE is "steam"/],
  ] as const) {
    test(`${name}=${value} is refused in one line`, () => {
      assert.throws(
        () => readKadDhtEnvironment({ ...UPSTREAM, [name]: value }),
        (error: unknown) => isHarnessError(error, 'ERR_CONFIG') && message.test(error.message),
      );
    });
  }
});
