/** What peers may cost a node: each limit, pushed past over real sockets, on every stack. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { CONN_RESOURCE_LIMIT_EXCEEDED } from '../../src/connection-memory.ts';
import { isLeanError, LeanError } from '../../src/errors.ts';
import { hostOf, kindOf, withoutPeer } from '../../src/multiaddr.ts';
import type { NodeLimits } from '../../src/node/limits.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import { enginesHere } from '../support/engines.ts';
import { longEnough } from '../support/long-enough.ts';
import { acceptedFrom, eventsOf, makeNode, type Stack, stacksHere } from '../support/nodes.ts';
import { echo, rejection, staysPending } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const SILENT_HANDSHAKES = fileURLToPath(
  new URL('../support/silent-handshakes.ts', import.meta.url),
);

const others = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
const outside = others.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
const skip = outside === undefined && 'no address but loopback';

/** Two addresses of one node, whose listeners each would let in as many as both together may. */
const listenTwice = async (
  t: TestContext,
  { options, listen }: Stack,
  limits: Partial<NodeLimits>,
  ip?: string,
) => {
  const node = await makeNode(t, { ...options, limits });
  const one = await node.listen(listen(ip));
  const two = await node.listen(listen(ip));
  return { node, one: one.address, two: two.address };
};

/** Who was refused by the node's own count is told why, over QUIC; TCP's muxers have no word for it. */
const assertRefused = async (dialer: LeanNode, address: Parameters<LeanNode['dial']>[0]) => {
  const connection = await dialer.dial(address, { force: true });
  const { by, code } = await connection.closed;
  assert.equal(by, 'remote');
  if (connection.description.startsWith('quic')) assert.equal(code, CONN_RESOURCE_LIMIT_EXCEEDED);
};

for (const stack of await stacksHere()) {
  const { name, options, listen } = stack;

  describe(`${name}: limits`, SUITE, () => {
    test('maxConnections, of all listeners', async (t) => {
      const { node, one, two } = await listenTwice(t, stack, { maxConnections: 2 });
      const refusals = eventsOf(node, 'connection:refuse');
      const ends = eventsOf(node, 'connection:close');
      const [a, b, c] = [
        await makeNode(t, options),
        await makeNode(t, options),
        await makeNode(t, options),
      ];
      const first = await a.dial(one);
      const second = await b.dial(two);
      await ping(first);
      await ping(second);
      await assertRefused(c, one);
      const { error } = await refusals.next();
      assert.equal(error.message, 'too many connections (maxConnections)');
      assert.equal(node.connections().length, 2);
      // What the node dials itself is not counted, and one that ends makes room.
      const back = await c.listen(listen());
      assert((await ping(await node.dial(back.address))) > 0);
      await first.close();
      await ends.next();
      assert((await ping(await c.dial(one, { force: true }))) > 0);
    });

    test('maxConnectionsPerHost, of all listeners; loopback has none', { skip }, async (t) => {
      assert(outside !== undefined);
      const limits = { maxConnectionsPerHost: 2 };
      const { node, one, two } = await listenTwice(t, stack, limits, outside);
      const refusals = eventsOf(node, 'connection:refuse');
      const dialer = await makeNode(t, options);
      await ping(await dialer.dial(one));
      await ping(await dialer.dial(two, { force: true }));
      await assertRefused(dialer, one);
      const { error, remote } = await refusals.next();
      assert.equal(error.message, 'too many connections of this host (maxConnectionsPerHost)');
      assert.match(remote, new RegExp(`^/ip4/${outside}/`));
      const local = await node.listen(listen());
      for (let i = 0; i < 3; i++) await ping(await dialer.dial(local.address, { force: true }));
    });

    test('maxConnectionsPerPeer', async (t) => {
      const { node, one } = await listenTwice(t, stack, { maxConnectionsPerPeer: 2 });
      const refusals = eventsOf(node, 'connection:refuse');
      const dialer = await makeNode(t, options);
      const first = await dialer.dial(one);
      await ping(first);
      await ping(await dialer.dial(one, { force: true }));
      await assertRefused(dialer, one);
      assert.equal(
        (await refusals.next()).error.message,
        'too many connections of this peer (maxConnectionsPerPeer)',
      );
      // Others come in, and the node itself may dial that peer.
      await ping(await (await makeNode(t, options)).dial(one));
      const there = await dialer.listen(listen());
      await ping(await node.dial(there.address, { force: true }));
    });

    test('maxPending and handshakeTimeout reach the listener', async (t) => {
      const limits = { maxPending: 2, handshakeTimeout: 1_000 };
      const { node, one } = await listenTwice(t, stack, limits);
      const refusals = eventsOf(node, 'connection:refuse');
      await goSilent(t, one, '127.0.0.2', 4, true);
      const seen = new Set<string>();
      while (seen.size < 2) {
        const { error } = await refusals.next();
        if (/evicted/.test(error.message)) seen.add('evicted');
        else if (isLeanError(error, 'ERR_TIMEOUT') || isTimedOut(error)) seen.add('timed out');
        else throw error;
      }
      // In the end: a busy machine may need longer than that for a handshake.
      const dialer = await makeNode(t, options);
      assert((await longEnough([1, 2, 3], async () => ping(await dialer.dial(one)))) > 0);
    });

    test('maxPending, of all listeners, whatever their transports', async (t) => {
      const limits = { maxPending: 4, handshakeTimeout: 50_000 };
      const transports = [...(options.transports ?? []), tcp()];
      const node = await makeNode(t, { transports, limits });
      const refusals = eventsOf(node, 'connection:refuse');
      const listeners = [];
      // quinn's last: on its thread nobody knows of the others.
      for (const address of ['/ip4/127.0.0.1/tcp/0', listen(), listen()]) {
        listeners.push((await node.listen(address)).address);
      }
      // Three each, which no listener alone would mind: nine, of which five are too many.
      for (const [i, address] of listeners.entries()) {
        await goSilent(t, address, `127.0.0.${i + 2}`, 3);
      }
      for (let i = 0; i < 5; i++) assert.match((await refusals.next()).error.message, /evicted/);
      assert.equal(refusals.size, 0);
      for (const address of listeners) {
        const dialer = await makeNode(t, { transports });
        assert((await ping(await dialer.dial(address))) > 0);
      }
    });

    if (kindOf(multiaddr(listen())) !== 'quic-v1') {
      test('maxPendingPerHost: the host loses its oldest', { skip }, async (t) => {
        assert(outside !== undefined);
        const { node, one } = await listenTwice(t, stack, { maxPendingPerHost: 2 }, outside);
        const refusals = eventsOf(node, 'connection:refuse');
        const sockets = await goSilent(t, one, outside, 3);
        const { error, remote } = await refusals.next();
        assert.match(error.message, /evicted/);
        assert.equal(remote, `${outside}:${sockets[0]?.localPort}`);
        assert((await ping(await (await makeNode(t, options)).dial(one))) > 0);
      });
    }

    test('maxStreams', async (t) => {
      const { node, one } = await listenTwice(t, stack, { maxStreams: 2 });
      node.handle('/hold/1', echo);
      const connection = await (await makeNode(t, options)).dial(one);
      const held = [await connection.newStream('/hold/1'), await connection.newStream('/hold/1')];
      for (const stream of held) stream.write(Uint8Array.of(1));
      if (kindOf(one) === 'quic-v1') {
        const third = connection.newStream(PING);
        assert(await staysPending(third));
        for (const stream of held) stream.reset();
        assert((await ping(await third)) > 0);
      } else {
        const third = await connection.newStream(PING);
        third.write(new Uint8Array(32));
        assert(isLeanError(await rejection(third.read()), 'ERR_STREAM_RESET'));
      }
    });

    test('connectionMemory reaches each connection', async (t) => {
      const { node, one } = await listenTwice(t, stack, { connectionMemory: 2 << 20 });
      const dialer = await makeNode(t, options);
      await dialer.dial(one);
      assert.equal((await acceptedFrom(node, dialer)).memory.limit, 2 << 20);
    });

    test('idleTimeout', async (t) => {
      await longEnough([2_000, 10_000], async (idleTimeout) => {
        const { node, one } = await listenTwice(t, stack, { idleTimeout });
        const ends = eventsOf(node, 'connection:close');
        const [idle, busy] = [await makeNode(t, options), await makeNode(t, options)];
        const over = await idle.dial(one);
        const used = await busy.dial(one);
        const ended = over.closed.then(() => true);
        // As often as it takes until the other one, which is silent, has ended.
        while (!(await Promise.race([ended, delay(300, false)]))) await ping(used);
        assert(idle.peerId.equals((await ends.next()).connection.remotePeer));
        assert((await ping(used)) > 0);
      });
    });
  });
}

/** Makes a listener wait for handshakes, over QUIC for `count` unless `more` are to follow; the sockets. */
const goSilent = async (
  t: TestContext,
  address: Multiaddr,
  from = '127.0.0.2',
  count = 4,
  more = false,
): Promise<Socket[]> => {
  const { host, port } = hostOf(withoutPeer(address));
  if (kindOf(address) === 'quic-v1') {
    const words = [SILENT_HANDSHAKES, `${port}`, from, `${count}`, ...(more ? [] : ['only'])];
    const child = spawn(process.execPath, [...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    return [];
  }
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const socket = connect({ port, host, localAddress: from });
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    socket.resume();
    await once(socket, 'connect');
    sockets.push(socket);
  }
  return sockets;
};

const isTimedOut = (error: Error): boolean => /time|within/.test(error.message);

test('a limit that is unknown or out of range is refused at once', async () => {
  const wrong: [object, RegExp][] = [
    [{ maxConnection: 1 }, /no limit maxConnection$/],
    [{ maxConnections: -1 }, /maxConnections must be a whole number in 0 … \d+, not -1/],
    [{ maxStreams: 1.5 }, /maxStreams must be .*, not 1.5/],
    [{ connectionMemory: 1000 }, /connectionMemory must be .* 1048576 …/],
    [{ idleTimeout: Number.NaN }, /idleTimeout must be .*, not NaN/],
    [{ stallTimeout: '5' }, /stallTimeout must be .*, not 5/],
  ];
  for (const [limits, says] of wrong) {
    await assert.rejects(createNode({ limits }), (error) => {
      assert(error instanceof LeanError);
      assert.equal(error.code, 'ERR_OPTIONS');
      assert.match(error.message, says);
      return true;
    });
  }
});

test('a limit that the engine has no use for is told of', async (t) => {
  const [engine] = (await enginesHere(['dialer'])).filter((name) => name === 'node');
  if (engine === undefined) return t.skip('no node:quic here');
  const transports = [quic({ engine, limits: { retryAbove: 1, streamWindow: 1 << 20 } })];
  const node = await makeNode(t, { transports });
  const told = eventsOf(node, 'limits:ignore');
  await node.prepare();
  assert.deepEqual(await told.next(), { engine: 'node', limits: ['retryAbove'] });
  return undefined;
});
