/** Relayed connections that become direct, every part ours; through NATs: `make nat`. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Connection } from '../../src/connection.ts';
import type { LeanNode } from '../../src/node/node.ts';
import { handleIdentify, IDENTIFY } from '../../src/protocols/identify.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { eventsOf, makeNode, type Stack, stacksHere } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';

/** A relay, and two peers that listen; `dialer` says nothing of its addresses, as one behind a NAT. */
const makeThree = async (t: TestContext, stack: Stack) => {
  const [server, listener, dialer] = await Promise.all([
    makeNode(t, { ...stack.options, relay: true }),
    makeNode(t, stack.options),
    makeNode(t, stack.options),
  ]);
  const { address } = await server.listen(stack.listen());
  await Promise.all([listener.listen(stack.listen()), dialer.listen(stack.listen())]);
  const { address: circuit } = await listener.listen(`${address}/p2p-circuit`);
  return { server, listener, dialer, circuit };
};

const hideAddresses = (node: LeanNode): void =>
  node.handle(IDENTIFY, (stream) =>
    handleIdentify(stream, {
      publicKey: undefined,
      listenAddrs: [],
      observedAddr: undefined,
      protocols: [],
      agentVersion: undefined,
      protocolVersion: undefined,
    }),
  );

const isDirect = ({ circuit }: Connection): boolean => circuit === undefined;

for (const stack of (await stacksHere()).filter(({ name }) => name !== 'ws')) {
  describe(`from relayed to direct over ${stack.name}`, SUITE, () => {
    it('a peer that says where it listens is dialled there', async (t) => {
      const { listener, dialer, circuit } = await makeThree(t, stack);
      const direct = eventsOf(dialer, 'connection:direct');
      const relayed = await dialer.dial(circuit);
      const found = await direct.next();
      assert.equal(found.relayed, relayed);
      assert.ok(isDirect(found.connection));
      assert.equal(found.connection.role, 'listener');
      assert.equal(await dialer.dial(circuit), found.connection);
      assert.equal(await dialer.dial(listener.addresses()), found.connection);
    });

    it('one that does not is asked to dial at the same time (DCUtR)', async (t) => {
      const { listener, dialer, circuit } = await makeThree(t, stack);
      hideAddresses(dialer);
      const direct = eventsOf(dialer, 'connection:direct');
      const there = eventsOf(listener, 'connection:direct');
      const [punched, agreed] = [
        eventsOf(listener, 'punch:start'),
        eventsOf(dialer, 'punch:start'),
      ];
      const relayed = await dialer.dial(circuit);
      const stream = await relayed.newStream(PING);
      await ping(stream);
      const { connection } = await direct.next();
      assert.ok((await there.next()).connection.remotePeer.equals(dialer.peerId));
      assert.equal((await punched.next()).role, 'listener');
      assert.equal((await agreed.next()).role, 'dialer');
      assert.ok((await ping(connection)) > 0);
      // The stream goes on for as long as it likes; then the relayed connection ends.
      for (let i = 0; i < 5; i++) await ping(stream);
      stream.closeWrite();
      await relayed.closed;
      assert.ok(dialer.connections(listener.peerId).every(isDirect));
      assert.ok(dialer.connections(listener.peerId).length > 0);
    });

    it('stays relayed when told to', async (t) => {
      const { listener, circuit } = await makeThree(t, stack);
      const dialer = await makeNode(t, { ...stack.options, nat: { holePunching: false } });
      await dialer.listen(stack.listen());
      hideAddresses(dialer);
      const failed = eventsOf(listener, 'punch:error');
      const connection = await dialer.dial(circuit);
      assert.match((await failed.next()).error.message, /does not support \/libp2p\/dcutr/);
      assert.ok((await ping(connection)) > 0);
      assert.ok(!dialer.connections(listener.peerId).some(isDirect));
    });
  });
}
