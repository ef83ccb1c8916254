/** The hole-punch participant: its environment, and all three roles over a real Redis. The laboratory has the NATs. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import {
  isHolePunchSuite,
  readHolePunchEnvironment,
} from '../../src/harness/hole-punch-environment.ts';
import { runHolePunchTest } from '../../src/harness/hole-punch-test.ts';
import { noLog } from '../../src/harness/log.ts';
import { SUITE } from '../support/suite-limit.ts';

const UNIFIED = {
  IS_DIALER: 'true',
  TRANSPORT: 'quic-v1',
  REDIS_ADDR: 'hole-punch-redis:6379',
  TEST_KEY: 'abcd1234',
  DIALER_IP: '10.1.2.99',
  WAN_SUBNET: '10.1.2.64/27',
  WAN_ROUTER_IP: '10.1.2.98',
  DEBUG: 'false',
};
const RELAY = { ...UNIFIED, IS_DIALER: undefined, DIALER_IP: undefined, RELAY_IP: '10.1.2.68' };

describe('the environment of the hole-punch suites', () => {
  it('as unified-testing sets it', () => {
    const dialer = readHolePunchEnvironment(UNIFIED);
    assert.deepEqual([dialer.role, dialer.ip], ['dialer', '10.1.2.99']);
    assert.deepEqual(dialer.keys, {
      relay: 'abcd1234_relay_multiaddr',
      listener: 'abcd1234_listener_peer_id',
    });
    assert.equal(dialer.punchTimeout, undefined);
    const listener = readHolePunchEnvironment({
      ...UNIFIED,
      IS_DIALER: 'false',
      LISTENER_IP: '10.1.2.131',
      PUNCH_TIMEOUT_SECS: '2.5',
    });
    assert.deepEqual(
      [listener.role, listener.ip, listener.punchTimeout],
      ['listener', '10.1.2.131', 2500],
    );
  });

  it('a relay is who has an address as one, or is told so', () => {
    assert.deepEqual(
      [readHolePunchEnvironment(RELAY).role, readHolePunchEnvironment(RELAY).ip],
      ['relay', '10.1.2.68'],
    );
    assert.equal(readHolePunchEnvironment({ ...UNIFIED, IS_RELAY: 'true' }).role, 'relay');
    assert.equal(readHolePunchEnvironment({ ...UNIFIED, IS_RELAY: 'false' }).role, 'dialer');
  });

  it('as test-plans sets it', () => {
    const listener = readHolePunchEnvironment({ MODE: 'listen', TRANSPORT: 'tcp' });
    assert.deepEqual(
      [listener.role, listener.transport, listener.secureChannel, listener.muxer, listener.redis],
      ['listener', 'tcp', 'noise', 'yamux', { host: 'redis', port: 6379 }],
    );
    assert.deepEqual(listener.keys, {
      relay: 'RELAY_TCP_ADDRESS',
      listener: 'LISTEN_CLIENT_PEER_ID',
    });
    const dialer = readHolePunchEnvironment({ MODE: 'dial', TRANSPORT: 'quic' });
    assert.deepEqual(
      [dialer.role, dialer.transport, dialer.keys.relay],
      ['dialer', 'quic-v1', 'RELAY_QUIC_ADDRESS'],
    );
  });

  it('is told from the other suites’', () => {
    assert.ok(isHolePunchSuite(UNIFIED));
    assert.ok(isHolePunchSuite({ ...UNIFIED, REDIS_ADDR: '10.0.0.1:6379' }));
    assert.ok(isHolePunchSuite({ MODE: 'dial', TRANSPORT: 'quic' }));
    assert.ok(!isHolePunchSuite({ IS_DIALER: 'true', REDIS_ADDR: 'transport-redis:6379' }));
  });

  for (const [what, change, message] of [
    ['no role', { IS_DIALER: undefined }, /IS_DIALER/],
    ['an address that is none', { DIALER_IP: 'everywhere' }, /DIALER_IP is "everywhere"/],
    ['a patience that is none', { PUNCH_TIMEOUT_SECS: 'soon' }, /PUNCH_TIMEOUT_SECS is "soon"/],
    ['a transport that cannot punch', { TRANSPORT: 'webrtc-direct' }, /not supported/],
    ['no test key', { TEST_KEY: '' }, /TEST_KEY is not set/],
    ['tcp without a muxer', { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise' }, /MUXER is not set/],
  ] as const) {
    it(`refuses ${what}, by name`, () => {
      assert.throws(() => readHolePunchEnvironment({ ...UNIFIED, ...change }), message);
    });
  }
  it('refuses a transport that test-plans does not have', () => {
    for (const TRANSPORT of ['ws', 'constructor']) {
      assert.throws(() => readHolePunchEnvironment({ MODE: 'dial', TRANSPORT }), /tcp or quic/);
    }
  });
});

describe('the hole-punch participant', { skip: noRedis, ...SUITE }, () => {
  const TCP = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };
  for (const [what, stack] of [
    ['quic-v1', {}],
    ['tcp', TCP],
  ] as const) {
    it(`relay, listener and dialer meet over ${what}, and the dialer reports a direct connection`, async (t) => {
      const redis = await startRedis();
      t.after(() => redis.stop());
      const stop = new AbortController();
      t.after(() => stop.abort());
      const reports: string[] = [];
      const start = (role: object) =>
        runHolePunchTest(
          readHolePunchEnvironment({
            ...UNIFIED,
            ...stack,
            REDIS_ADDR: redis.address,
            DIALER_IP: '127.0.0.1',
            LISTENER_IP: '127.0.0.1',
            RELAY_IP: '127.0.0.1',
            TEST_TIMEOUT_SECS: '40',
            PUNCH_TIMEOUT_SECS: '30',
            ...role,
          }),
          {
            signal: stop.signal,
            log: noLog,
            print: async (report) => void reports.push(report),
          },
        );
      const others = [start({ IS_RELAY: 'true' }), start({ IS_DIALER: 'false' })];
      await start({});
      stop.abort();
      // To be told to end is how they end.
      await Promise.all(others);
      const NUMBER = String.raw`\d+\.\d{3}`;
      assert.match(
        reports.join(''),
        new RegExp(
          `^latency:\n  handshake_plus_one_rtt: ${NUMBER}\n  ping_rtt: ${NUMBER}\n  unit: ms\nhole_punch:\n  connection: direct\n  relayed_after: ${NUMBER}\n  relayed_to_direct: ${NUMBER}\n$`,
        ),
      );
    });
  }

  it('prints what test-plans reads, whose relay is its own', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const stop = new AbortController();
    t.after(() => stop.abort());
    const reports: string[] = [];
    const options = {
      signal: stop.signal,
      log: noLog,
      print: async (report: string) => void reports.push(report),
    };
    // A stand-in for its relay: ours, whose address goes under test-plans' key, once for each peer.
    const relay = runHolePunchTest(
      readHolePunchEnvironment({ ...RELAY, RELAY_IP: '127.0.0.1', REDIS_ADDR: redis.address }),
      options,
    );
    let address = '';
    while (address === '') {
      const reply = await redis.send('GET', 'abcd1234_relay_multiaddr');
      address = /^\$\d+\r\n(.+)\r\n/.exec(reply)?.[1] ?? '';
    }
    await redis.send('RPUSH', 'RELAY_QUIC_ADDRESS', address, address);
    const plan = { TRANSPORT: 'quic', REDIS_ADDR: redis.address, TEST_TIMEOUT_SECS: '40' };
    const local = { DIALER_IP: '127.0.0.1', LISTENER_IP: '127.0.0.1' };
    const run = (MODE: string) =>
      runHolePunchTest(readHolePunchEnvironment({ ...plan, ...local, MODE }), options);
    const listener = run('listen');
    await run('dial');
    stop.abort();
    await Promise.all([relay, listener]);
    assert.match(reports.join(''), /^\{"rtt_to_holepunched_peer_millis": \d+\}\n$/);
  });
});
