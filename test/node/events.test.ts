/** What a node tells, over real sockets. */

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { hostOf, withoutPeer } from '../../src/multiaddr.ts';
import { createEvents } from '../../src/node/events.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { eventsOf, makeNode, stacksHere } from '../support/nodes.ts';
import { deadAddress, rejection } from '../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };

for (const { name, options, listen } of await stacksHere()) {
  test(`${name}: a connection from its dial to its end`, HANG, async (t) => {
    const [listener, dialer] = [await makeNode(t, options), await makeNode(t, options)];
    const of = {
      bound: eventsOf(listener, 'listen:open'),
      unbound: eventsOf(listener, 'listen:close'),
      opened: eventsOf(listener, 'connection:open'),
      closed: eventsOf(listener, 'connection:close'),
      stream: eventsOf(listener, 'stream:open'),
      refused: eventsOf(listener, 'stream:refuse'),
      dialled: eventsOf(dialer, 'dial:start'),
      connected: eventsOf(dialer, 'connection:open'),
      gone: eventsOf(dialer, 'connection:close'),
    };
    const bound = await listener.listen(listen());
    assert.equal((await of.bound.next()).listener, bound);
    const connection = await dialer.dial(bound.address);
    assert.equal((await of.dialled.next()).address.toString(), bound.address.toString());
    assert.equal((await of.connected.next()).connection, connection);
    const { connection: theirs } = await of.opened.next();
    assert.deepEqual([connection.role, theirs.role], ['dialer', 'listener']);
    assert(theirs.remotePeer.equals(dialer.peerId));
    await ping(connection);
    const { streamId, ...rest } = await of.stream.next();
    assert.deepEqual(rest, { connection: theirs, protocol: PING });
    assert(streamId !== '');
    const unknown = await connection.newStream('/unknown/1');
    const refusal = await rejection(unknown.read());
    assert(isLeanError(refusal, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(refusal));
    assert.equal((await of.refused.next()).connection, theirs);
    await connection.close(0, 'bye');
    assert.deepEqual((await of.closed.next()).reason.by, 'remote');
    assert.deepEqual((await of.gone.next()).reason.by, 'local');
    await bound.close();
    assert.equal((await of.unbound.next()).listener, bound);
  });
}

test('a dial that fails names each address', HANG, async (t) => {
  const node = await makeNode(t);
  const failures = eventsOf(node, 'dial:error');
  const { port } = await deadAddress();
  const error = await rejection(node.dial(`/ip4/127.0.0.1/tcp/${port}`));
  const told = await failures.next();
  assert.equal(told.error, error);
  assert.equal(told.address.toString(), `/ip4/127.0.0.1/tcp/${port}`);
});

test('a handshake that fails is a refusal, with its source', HANG, async (t) => {
  const node = await makeNode(t);
  const refusals = eventsOf(node, 'connection:refuse');
  const { address } = await node.listen('/ip4/127.0.0.1/tcp/0');
  const socket = connect(hostOf(withoutPeer(address)));
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(9));
  const { error, remote } = await refusals.next();
  assert.equal((error as { code?: string }).code, 'ERR_PROTOCOL_VIOLATION');
  assert.equal(remote, `127.0.0.1:${socket.localPort}`);
  socket.destroy();
});

test('the choice of the engine is told to who listens before it is made', HANG, async (t) => {
  const node = await makeNode(t);
  const choices = eventsOf(node, 'engine:select');
  await node.prepare({ addresses: ['/ip4/127.0.0.1/udp/1/quic-v1'] });
  const { engine, role, why } = await choices.next();
  assert(['quinn', 'node', 'quiche'].includes(engine));
  assert.equal(role, 'dialer');
  assert.notEqual(why, '');
});

describe('a listener of events', () => {
  test('is removed, and called once if so wanted', async (t) => {
    const node = await makeNode(t);
    const calls: string[] = [];
    const always = () => calls.push('always');
    node.addEventListener('listen:open', always);
    node.addEventListener('listen:open', () => calls.push('once'), { once: true });
    await node.listen('/ip4/127.0.0.1/tcp/0');
    node.removeEventListener('listen:open', always);
    await node.listen('/ip4/127.0.0.1/tcp/0');
    assert.deepEqual(calls, ['always', 'once']);
  });

  test('costs nothing where there is none', () => {
    const events = createEvents();
    assert(!events.has('stream:open'));
    events.target.addEventListener('stream:open', () => {});
    assert(events.has('stream:open'));
    assert(!events.has('stream:error'));
  });
});
