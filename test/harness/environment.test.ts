import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeanError } from '../../src/errors.ts';
import { hasHarnessVariables, readEnvironment } from '../../src/harness/environment.ts';
import { HarnessError } from '../../src/harness/errors.ts';

const unified = {
  IS_DIALER: 'true',
  REDIS_ADDR: 'transport-redis:6379',
  TEST_KEY: 'a5b50d5e',
  TRANSPORT: 'quic-v1',
  LISTENER_IP: '0.0.0.0',
  DEBUG: 'false',
};
const legacy = { is_dialer: 'false', transport: 'quic-v1', ip: '0.0.0.0' };

const refuses = (
  environment: Record<string, string | undefined>,
  code: 'ERR_CONFIG' | 'ERR_UNSUPPORTED',
  ...says: RegExp[]
): void => {
  assert.throws(
    () => readEnvironment(environment),
    (error: unknown) => {
      assert.ok(error instanceof LeanError || error instanceof HarnessError);
      assert.equal(error.code, code, error.message);
      for (const pattern of says) assert.match(error.message, pattern);
      assert.doesNotMatch(error.message, /[\r\n]/);
      return true;
    },
  );
};

test('the unified dialect, as its runner sets it', () => {
  assert.deepEqual(readEnvironment(unified), {
    dialect: 'unified',
    role: 'dialer',
    transport: 'quic-v1',
    secureChannel: undefined,
    muxer: undefined,
    listenerIp: '0.0.0.0',
    redis: { host: 'transport-redis', port: 6379 },
    key: 'a5b50d5e_listener_multiaddr',
    timeout: 180_000,
    debug: false,
    quicEngine: 'auto',
    quicTrace: {},
  });
});

test('the legacy dialect with its defaults', () => {
  assert.deepEqual(readEnvironment({ is_dialer: 'false', transport: 'quic-v1' }), {
    dialect: 'legacy',
    role: 'listener',
    transport: 'quic-v1',
    secureChannel: undefined,
    muxer: undefined,
    listenerIp: '0.0.0.0',
    redis: { host: 'redis', port: 6379 },
    key: 'listenerAddr',
    timeout: 180_000,
    debug: false,
    quicEngine: 'auto',
    quicTrace: {},
  });
});

test('secure channel and muxer of a transport that needs them', () => {
  const modern = readEnvironment({
    ...unified,
    TRANSPORT: 'tcp',
    SECURE_CHANNEL: 'noise',
    MUXER: 'yamux',
  });
  assert.deepEqual(
    [modern.transport, modern.secureChannel, modern.muxer],
    ['tcp', 'noise', 'yamux'],
  );
  const old = readEnvironment({ ...legacy, transport: 'ws', security: 'tls', muxer: 'mplex' });
  assert.deepEqual([old.transport, old.secureChannel, old.muxer], ['ws', 'tls', 'mplex']);
  refuses(
    { ...unified, TRANSPORT: 'tcp', MUXER: 'yamux' },
    'ERR_CONFIG',
    /^SECURE_CHANNEL is not set/,
  );
  refuses({ ...legacy, transport: 'tcp', security: 'noise' }, 'ERR_CONFIG', /^muxer is not set/);
});

test('null and the empty string are unset', () => {
  const config = readEnvironment({
    ...unified,
    SECURE_CHANNEL: 'null',
    MUXER: '',
    QUIC_ENGINE: '',
  });
  assert.deepEqual([config.secureChannel, config.muxer], [undefined, undefined]);
  refuses({ ...unified, TEST_KEY: 'null' }, 'ERR_CONFIG', /^TEST_KEY is not set/);
  refuses({ ...unified, REDIS_ADDR: '' }, 'ERR_CONFIG', /^REDIS_ADDR is not set.*host:port/);
  assert.equal(hasHarnessVariables({ IS_DIALER: 'null', transport: '' }), false);
});

test('a standalone transport ignores a known secure channel and muxer', () => {
  const config = readEnvironment({ ...unified, SECURE_CHANNEL: 'tls', MUXER: 'yamux' });
  assert.deepEqual([config.secureChannel, config.muxer], [undefined, undefined]);
  refuses({ ...unified, MUXER: 'zamux' }, 'ERR_CONFIG', /^MUXER is "zamux".*yamux, mplex/);
});

test('the dialect is found by its role or its transport; upper case wins', () => {
  assert.equal(hasHarnessVariables({}), false);
  assert.equal(hasHarnessVariables({ PATH: '/bin', ip: '::' }), false);
  assert.equal(hasHarnessVariables({ transport: 'tcp' }), true);
  assert.equal(readEnvironment({ ...legacy, ...unified }).dialect, 'unified');
  refuses({}, 'ERR_CONFIG', /IS_DIALER/, /is_dialer/);
  refuses(
    { transport: 'quic-v1' },
    'ERR_CONFIG',
    /^is_dialer is not set; it must be true or false/,
  );
  refuses(
    { TRANSPORT: 'quic-v1' },
    'ERR_CONFIG',
    /^IS_DIALER is not set; it must be true or false/,
  );
  refuses({ IS_DIALER: 'true', transport: 'quic-v1' }, 'ERR_CONFIG', /^TRANSPORT is not set/);
});

test('booleans are true or false and nothing else', () => {
  for (const value of ['True', '1', 'yes', ' true', 'true\n', 'on']) {
    refuses(
      { ...unified, IS_DIALER: value },
      'ERR_CONFIG',
      /^IS_DIALER is ".*"; it must be true or false$/,
    );
  }
  refuses({ ...unified, DEBUG: '1' }, 'ERR_CONFIG', /^DEBUG is "1"/);
  assert.equal(readEnvironment({ ...unified, DEBUG: 'true' }).debug, true);
  assert.equal(readEnvironment({ ...legacy, DEBUG: 'true' }).debug, true);
  assert.equal(readEnvironment({ ...legacy, DEBUG: '*:yamux:trace' }).debug, false);
});

test('timeouts, in both dialects and with the second legacy name', () => {
  assert.equal(readEnvironment({ ...unified, TEST_TIMEOUT_SECS: '7' }).timeout, 7_000);
  assert.equal(readEnvironment({ ...unified, TEST_TIMEOUT_SECS: '1.5' }).timeout, 1_500);
  assert.equal(readEnvironment({ ...legacy, test_timeout_seconds: '9' }).timeout, 9_000);
  assert.equal(readEnvironment({ ...legacy, test_timeout_secs: '8' }).timeout, 8_000);
  assert.equal(
    readEnvironment({ ...legacy, test_timeout_seconds: '9', test_timeout_secs: '8' }).timeout,
    9_000,
  );
  for (const value of ['0', '-1', '1e3', '0x10', 'soon', '1 ', '86401', '99999999', '0.0001']) {
    refuses(
      { ...unified, TEST_TIMEOUT_SECS: value },
      'ERR_CONFIG',
      /^TEST_TIMEOUT_SECS is ".*seconds/,
    );
  }
  refuses({ ...legacy, test_timeout_secs: 'x' }, 'ERR_CONFIG', /^test_timeout_secs is "x"/);
});

test('Redis addresses', () => {
  const redis = (REDIS_ADDR: string): unknown => readEnvironment({ ...unified, REDIS_ADDR }).redis;
  assert.deepEqual(redis('127.0.0.1:7000'), { host: '127.0.0.1', port: 7000 });
  assert.deepEqual(redis('[::1]:7000'), { host: '::1', port: 7000 });
  assert.deepEqual(redis('redis'), { host: 'redis', port: 6379 });
  assert.deepEqual(redis('proxy-a5b50d5e_x.local:6379'), {
    host: 'proxy-a5b50d5e_x.local',
    port: 6379,
  });
  for (const value of [
    'redis:',
    'redis:0',
    'redis:65536',
    ':6379',
    '::1:6379',
    '[1.2.3.4]:1',
    'a b:1',
    'redis://h:1',
  ]) {
    refuses({ ...unified, REDIS_ADDR: value }, 'ERR_CONFIG', /^REDIS_ADDR is ".*host:port/);
  }
});

test('listener addresses', () => {
  assert.equal(readEnvironment({ ...unified, LISTENER_IP: '::' }).listenerIp, '::');
  assert.equal(readEnvironment({ ...legacy, ip: '127.0.0.1' }).listenerIp, '127.0.0.1');
  for (const value of ['localhost', '0.0.0', 'fe80::1%eth0', '/ip4/0.0.0.0']) {
    refuses({ ...unified, LISTENER_IP: value }, 'ERR_CONFIG', /^LISTENER_IP is ".*IPv4 or IPv6/);
  }
});

test('where traces go', () => {
  const traced = { ...unified, SSLKEYLOGFILE: '/tmp/keys', QLOGDIR: '' };
  assert.deepEqual(readEnvironment(traced).quicTrace, { keyLog: '/tmp/keys' });
});

test('the engine', () => {
  assert.equal(readEnvironment({ ...unified, QUIC_ENGINE: 'node' }).quicEngine, 'node');
  assert.equal(readEnvironment({ ...legacy, QUIC_ENGINE: 'quiche' }).quicEngine, 'quiche');
  refuses(
    { ...unified, QUIC_ENGINE: 'lsquic' },
    'ERR_CONFIG',
    /^QUIC_ENGINE is "lsquic".*one of auto, quinn, node, quiche/,
  );
});

test('what the matrices know and this participant does not run', () => {
  for (const transport of ['quic', 'webtransport', 'webrtc', 'webrtc-direct']) {
    refuses(
      { ...unified, TRANSPORT: transport },
      'ERR_UNSUPPORTED',
      new RegExp(`transport ${transport} is not supported`),
    );
    refuses({ ...legacy, transport }, 'ERR_UNSUPPORTED', /not supported here; .*: quic-v1, tcp, /);
  }
  refuses(
    { ...unified, TRANSPORT: 'tcp', SECURE_CHANNEL: 'plaintext', MUXER: 'yamux' },
    'ERR_UNSUPPORTED',
    /secure channel plaintext/,
  );
  refuses(
    { ...unified, TRANSPORT: 'quic-v2' },
    'ERR_CONFIG',
    // Not what would then end with 127.
    /^TRANSPORT is "quic-v2"; it must be one of quic-v1, tcp, ws, wss$/,
  );
  refuses(
    { ...unified, TRANSPORT: 'tcp', SECURE_CHANNEL: 'ssl', MUXER: 'yamux' },
    'ERR_CONFIG',
    /^SECURE_CHANNEL is "ssl"; it must be one of noise, tls$/,
  );
  // Malformed goes before unsupported.
  refuses(
    { ...unified, TRANSPORT: 'webrtc', TEST_TIMEOUT_SECS: 'x' },
    'ERR_CONFIG',
    /TEST_TIMEOUT_SECS/,
  );
});

test('a value cannot break the one line', () => {
  refuses(
    { ...unified, TRANSPORT: `x\r\n${'y'.repeat(5000)}` },
    'ERR_CONFIG',
    /^TRANSPORT is "x\\r\\ny+…"/,
  );
  refuses({ ...unified, TEST_KEY: 'a b' }, 'ERR_CONFIG', /^TEST_KEY is "a b"/);
});
