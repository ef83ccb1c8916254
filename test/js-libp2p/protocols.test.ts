/**
 * js-libp2p's own protocols over our QUIC, with go-libp2p and rust-libp2p as processes: identify push, and circuit relay
 * with rust-libp2p (with go-libp2p: interop-suites.ts). `make interop-js-libp2p` builds the peers; those that
 * are not built are skipped.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify, identifyPush } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2pOptions } from 'libp2p';
import { type BuiltPeer, buildPeers } from '../../interop/build-peers.ts';
import { noRedis, type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { quic } from '../../src/exports/js-libp2p.ts';
import { enginesHere } from '../support/engines.ts';
import { LOOPBACK } from '../support/js-libp2p.ts';
import { inbox } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const RELAY = 'hole-punch-rust-v0.57';
const EVERYWHERE = '/ip4/0.0.0.0/udp/0/quic-v1';
/** Between two looks into Redis; milliseconds. */
const LOOK = 20;
/** Of the peers of the hole-punch suite, under which they meet in Redis. */
const KEY = 'js0libp2p';

const built = await buildPeers(
  ['identify-go-v0.51', 'identify-rust-v0.57', RELAY],
  () => {},
  false,
);
const [engine] = await enginesHere(['dialer', 'listener']);
assert.ok(engine !== undefined);

const startPeer = (
  t: TestContext,
  peer: BuiltPeer | undefined,
  words: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): ChildProcess => {
  assert.ok(peer !== undefined && 'command' in peer);
  const [command = '', ...rest] = peer.command;
  const child = spawn(command, [...rest, ...words], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  return child;
};

const unlessBuilt = (peer: BuiltPeer | undefined): string | false =>
  peer === undefined || 'skipped' in peer ? `${peer?.id}: ${peer?.skipped}` : false;

/** What each peer can tell of itself that is new, and how js-libp2p hears of it. */
const NEWS = { 'identify-go-v0.51': '/their/new/1', 'identify-rust-v0.57': '/ip4/192.0.2.7/tcp/7' };

for (const [id, news] of Object.entries(NEWS)) {
  const peer = built.find((it) => it.id === id);

  describe(`identify push with ${id}`, { ...SUITE, skip: unlessBuilt(peer) }, () => {
    it('each hears of what is new of the other', async (t) => {
      const child = startPeer(t, peer, [LOOPBACK]);
      assert.ok(child.stdout !== null && child.stdin !== null);
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const node = await createLibp2p({
        transports: [quic({ engine })],
        services: { identify: identify(), identifyPush: identifyPush() },
      });
      t.after(() => node.stop());
      const heard = inbox<readonly string[]>();
      node.addEventListener('peer:identify', ({ detail }) =>
        heard.push([...detail.protocols, ...detail.listenAddrs.map((it) => `${it}`)]),
      );
      const { value: address } = await lines.next();
      await node.dial(multiaddr(address));
      assert.ok(!(await heard.next()).includes(news));

      const theirs = async (): Promise<{ peer: string; protocols: string[] }> => {
        const { value, done } = await lines.next();
        assert.ok(!done, 'the peer ended');
        return JSON.parse(value);
      };
      const first = await theirs();
      assert.equal(first.peer, `${node.peerId}`);
      assert.ok(!first.protocols.includes('/our/new/1'));
      await node.handle('/our/new/1', () => {});
      while (!(await theirs()).protocols.includes('/our/new/1'));

      child.stdin.write(`${news}\n`);
      while (!(await heard.next()).includes(news));
    });
  });
}

const startNode = async (
  t: TestContext,
  options: Pick<Libp2pOptions, 'addresses'>,
  relays = false,
) => {
  const node = await createLibp2p({
    ...options,
    transports: [quic({ engine }), circuitRelayTransport()],
    // For relayed connections: QUIC has its own.
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: {
      identify: identify(),
      ping: ping({ runOnLimitedConnection: true }),
      ...(relays && { relay: circuitRelayServer() }),
    },
  });
  t.after(() => node.stop());
  return node;
};

const environment = (redis: RedisServer): Record<string, string> => ({
  TRANSPORT: 'quic-v1',
  REDIS_ADDR: redis.address,
  TEST_KEY: KEY,
  TEST_TIMEOUT_SECS: '100',
});

const rust = built.find((it) => it.id === RELAY);

describe('circuit relay with rust-libp2p', {
  ...SUITE,
  skip: noRedis || unlessBuilt(rust),
}, () => {
  it('relays for us', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    startPeer(t, rust, [], { ...environment(redis), IS_RELAY: 'true' });
    const relay = await published(redis, `${KEY}_relay_multiaddr`);
    const listener = await startNode(t, { addresses: { listen: [`${relay}/p2p-circuit`] } });
    const dialer = await startNode(t, { addresses: { listen: [] } });
    const connection = await dialer.dial(multiaddr(`${relay}/p2p-circuit/p2p/${listener.peerId}`));
    assert.match(`${connection.remoteAddr}`, /\/quic-v1\/p2p\/12D3KooW\w+\/p2p-circuit/);
    assert.ok((await dialer.services.ping.ping(listener.peerId)) >= 0);
  });

  it('is relayed by us', async (t) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const relay = await startNode(t, { addresses: { listen: [EVERYWHERE] } }, true);
    const address = relay.getMultiaddrs().find((it) => !`${it}`.includes('/127.0.0.1/'));
    if (address === undefined) return t.skip('this machine has loopback addresses only');
    await redis.send('SET', `${KEY}_relay_multiaddr`, `${address}`);
    const env = { ...environment(redis), PUNCH_TIMEOUT_SECS: '20' };
    startPeer(t, rust, [], { ...env, IS_DIALER: 'false' });
    const dialer = startPeer(t, rust, [], { ...env, IS_DIALER: 'true' });
    assert.ok(dialer.stdout !== null);
    const [[code], result] = await Promise.all([once(dialer, 'exit'), text(dialer.stdout)]);
    assert.equal(code, 0);
    assert.match(result, /relayed_after: \d/);
  });
});

/** Waits until a string is there. */
const published = async (redis: RedisServer, key: string): Promise<string> => {
  for (;;) {
    const [, value] = /^\$\d+\r\n(.*)\r\n$/.exec(await redis.send('GET', key)) ?? [];
    if (value !== undefined) return value;
    await delay(LOOK);
  }
};
