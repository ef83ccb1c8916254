import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Environment, isPerfSuite } from '../../src/harness/environment.ts';
import { isHarnessError } from '../../src/harness/errors.ts';
import { readPerfEnvironment } from '../../src/harness/perf-environment.ts';

/** What the suite's compose file gives a dialer (docs/write-a-perf-test-app.md). */
const DIALER: Environment = {
  IS_DIALER: 'true',
  REDIS_ADDR: 'perf-redis:6379',
  TEST_KEY: 'a5b50d5e',
  TRANSPORT: 'quic-v1',
  UPLOAD_BYTES: '1048576',
  DOWNLOAD_BYTES: '0',
  UPLOAD_ITERATIONS: '3',
  DOWNLOAD_ITERATIONS: '4',
  LATENCY_ITERATIONS: '5',
  DURATION: '20',
};
const LISTENER: Environment = {
  IS_DIALER: 'false',
  REDIS_ADDR: 'perf-redis:6379',
  TEST_KEY: 'a5b50d5e',
  TRANSPORT: 'tcp',
  SECURE_CHANNEL: 'noise',
  MUXER: 'yamux',
  LISTENER_IP: '0.0.0.0',
  DEBUG: 'false',
};

describe('the perf suite’s environment', () => {
  it('says what a dialer moves', () => {
    const { role, key, uploadBytes, downloadBytes, ...rest } = readPerfEnvironment(DIALER);
    assert.deepEqual(
      [role, key, uploadBytes, downloadBytes],
      ['dialer', 'a5b50d5e_listener_multiaddr', 1_048_576, 0],
    );
    const { uploadIterations, downloadIterations, latencyIterations } = rest;
    assert.deepEqual([uploadIterations, downloadIterations, latencyIterations], [3, 4, 5]);
  });

  it('has defaults for what is unset, empty or null', () => {
    for (const unset of [undefined, '', 'null']) {
      const { uploadBytes, downloadBytes, ...rest } = readPerfEnvironment({
        ...DIALER,
        UPLOAD_BYTES: unset,
        DOWNLOAD_BYTES: unset,
        UPLOAD_ITERATIONS: unset,
        DOWNLOAD_ITERATIONS: unset,
        LATENCY_ITERATIONS: unset,
        TEST_TIMEOUT_SECS: unset,
      });
      assert.deepEqual([uploadBytes, downloadBytes], [2 ** 30, 2 ** 30]);
      const { uploadIterations, downloadIterations, latencyIterations } = rest;
      assert.deepEqual([uploadIterations, downloadIterations, latencyIterations], [10, 10, 100]);
      assert.equal(rest.runTimeout, undefined, 'nothing bounds the run');
    }
  });

  it('bounds the run where it names a timeout', () => {
    assert.equal(readPerfEnvironment({ ...DIALER, TEST_TIMEOUT_SECS: '7' }).runTimeout, 7_000);
  });

  it('takes up to 2^53 - 1 bytes', () => {
    const most = { ...DIALER, UPLOAD_BYTES: '9007199254740991' };
    assert.equal(readPerfEnvironment(most).uploadBytes, Number.MAX_SAFE_INTEGER);
  });

  it('knows a listener’s stack', () => {
    const { role, transport, secureChannel, muxer } = readPerfEnvironment(LISTENER);
    assert.deepEqual(
      [role, transport, secureChannel, muxer],
      ['listener', 'tcp', 'noise', 'yamux'],
    );
  });

  for (const [name, value] of [
    ['UPLOAD_BYTES', '-1'],
    ['UPLOAD_BYTES', '1e9'],
    ['DOWNLOAD_BYTES', '9007199254740992'],
    ['UPLOAD_ITERATIONS', '0'],
    ['DOWNLOAD_ITERATIONS', '1.5'],
    ['LATENCY_ITERATIONS', 'many'],
    ['IS_DIALER', 'maybe'],
  ] as const) {
    it(`refuses ${name}=${value} by name`, () => {
      assert.throws(
        () => readPerfEnvironment({ ...DIALER, [name]: value }),
        (error) => isHarnessError(error, 'ERR_CONFIG') && error.message.startsWith(`${name} is `),
      );
    });
  }

  it('can be told from the transport suite’s', () => {
    assert.equal(isPerfSuite(DIALER), true);
    assert.equal(isPerfSuite(LISTENER), true);
    assert.equal(isPerfSuite({ ...DIALER, REDIS_ADDR: 'redis:6379' }), true);
    for (const redis of ['transport-redis:6379', 'redis:6379', 'perf-redis.example:6379']) {
      assert.equal(isPerfSuite({ ...LISTENER, REDIS_ADDR: redis }), false);
    }
    assert.equal(isPerfSuite({ is_dialer: 'false', transport: 'quic-v1' }), false);
  });
});
