/** Which connection a dial gives: one that is open, one that is being made, or a new one. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { withoutPeer } from '../../src/multiaddr.ts';
import { ping } from '../../src/protocols/ping.ts';
import { acceptedFrom, eventsOf, makeNode, stacksHere } from '../support/nodes.ts';
import { deadAddress, rejection, staysPending } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

for (const { name, options, listen } of await stacksHere()) {
  describe(`${name}: a dial`, SUITE, () => {
    const makePair = async (t: TestContext) => {
      const [listener, dialer] = [await makeNode(t, options), await makeNode(t, options)];
      const { address } = await listener.listen(listen());
      return { listener, dialer, address };
    };

    test('gives the open connection, unless forced', async (t) => {
      const { dialer, listener, address } = await makePair(t);
      const first = await dialer.dial(address);
      assert.equal(await dialer.dial(address), first);
      const forced = await dialer.dial(address, { force: true });
      assert.notEqual(forced, first);
      assert.deepEqual(dialer.connections(), [first, forced]);
      assert.deepEqual(dialer.connections(listener.peerId.toString()), [first, forced]);
      assert.deepEqual(dialer.connections(peerIdOf(generateHostKey().publicKey)), []);
      // Whose address does not say who is there.
      assert.notEqual(await dialer.dial(withoutPeer(address)), first);
    });

    test('gives a new connection as soon as the open one is closed, by either side', async (t) => {
      const { dialer, listener, address } = await makePair(t);
      const first = await dialer.dial(address);
      first.close();
      const second = await dialer.dial(address);
      assert.notEqual(second, first);
      const theirs = await acceptedFrom(listener, dialer);
      await ping(second);
      for (const connection of listener.connections()) await connection.close();
      await theirs.closed;
      await second.closed;
      const third = await dialer.dial(address);
      assert.notEqual(third, second);
      assert((await ping(third)) > 0);
    });

    test('gives the connection that the peer has made', async (t) => {
      const { dialer, listener, address } = await makePair(t);
      await dialer.dial(address);
      const accepted = await acceptedFrom(listener, dialer);
      const [there] = [await dialer.listen(listen())];
      assert.equal(await listener.dial(there.address), accepted);
      assert((await ping(accepted)) > 0);
    });

    test('is shared by all that dial one peer at once', async (t) => {
      const { dialer, address } = await makePair(t);
      const attempts = eventsOf(dialer, 'dial:start');
      const all = await Promise.all([1, 2, 3].map(() => dialer.dial(address)));
      assert.equal(new Set(all).size, 1);
      assert.equal(dialer.connections().length, 1);
      await attempts.next();
      assert.equal(attempts.size, 0);
    });
  });
}

/** A TCP listener that takes connections and says nothing; `taken` is the first of them. */
const silentServer = async (t: TestContext): Promise<{ port: number; taken: Promise<Socket> }> => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.resume();
  });
  const taken = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as { port: number }).port, taken };
};

describe('a dial that is shared', SUITE, () => {
  const peer = peerIdOf(generateHostKey().publicKey);

  test('goes on for the others when one gives up, and ends with the last', async (t) => {
    const node = await makeNode(t);
    const { port, taken } = await silentServer(t);
    const address = `/ip4/127.0.0.1/tcp/${port}/p2p/${peer}`;
    const [one, two] = [new AbortController(), new AbortController()];
    const failures = eventsOf(node, 'dial:error');
    const first = node.dial(address, { signal: one.signal });
    const second = node.dial(address, { signal: two.signal });
    second.catch(() => {});
    const socket = await taken;
    one.abort(new Error('enough'));
    const error = await rejection(first);
    assert(isLeanError(error, 'ERR_ABORTED'), String(error));
    assert.equal((error.cause as Error).message, 'enough');
    assert(await staysPending(second));
    two.abort();
    assert(isLeanError(await rejection(second), 'ERR_ABORTED'));
    await failures.next();
    if (!socket.closed) await once(socket, 'close');
  });

  test('fails, and who has other addresses tries those', async (t) => {
    const [listener, dialer] = [await makeNode(t), await makeNode(t)];
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    const { port } = await deadAddress();
    const dead = `/ip4/127.0.0.1/tcp/${port}/p2p/${listener.peerId}`;
    const [first, second] = [dialer.dial(dead), dialer.dial([dead, address])];
    assert(isLeanError(await rejection(first), 'ERR_DIAL'));
    assert((await second).remotePeer.equals(listener.peerId));
  });

  test('ends with the node', async (t) => {
    const node = await makeNode(t);
    const { port } = await silentServer(t);
    const address = `/ip4/127.0.0.1/tcp/${port}/p2p/${peer}`;
    const dials = [rejection(node.dial(address)), rejection(node.dial(address))];
    await node.close();
    for (const error of await Promise.all(dials)) assert(isLeanError(error, 'ERR_ABORTED'));
  });
});
