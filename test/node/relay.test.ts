/** Circuits through a relay, every part ours, over each stack. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { parseMultiaddr, withPeer } from '../../src/multiaddr.ts';
import type { LeanNode, NodeOptions } from '../../src/node/node.ts';
import { identify } from '../../src/protocols/identify.ts';
import { ping } from '../../src/protocols/ping.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { longEnough } from '../support/long-enough.ts';
import { acceptedFrom, eventsOf, makeNode, type Stack, stacksHere } from '../support/nodes.ts';
import { echo } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const ECHO = '/echo/1';
const code = (expected: string, message?: RegExp) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  if (message !== undefined) assert.match(error.message, message);
  return true;
};

/** A relay, a peer that listens there, and one that knows its address. */
const makeThree = async (t: TestContext, stack: Stack, relay: NodeOptions['relay'] = true) => {
  const [server, listener, dialer] = await Promise.all([
    makeNode(t, { ...stack.options, relay }),
    makeNode(t, stack.options),
    makeNode(t, stack.options),
  ]);
  const { address } = await server.listen(stack.listen());
  return { server, listener, dialer, address, circuit: `${address}/p2p-circuit` };
};

const relayed = async (t: TestContext, stack: Stack, relay?: NodeOptions['relay']) => {
  const three = await makeThree(t, stack, relay);
  const { address } = await three.listener.listen(three.circuit);
  return { ...three, address, connection: await three.dialer.dial(address) };
};

/** Resolves when `node` has lost its reservation, or has none any more. */
const ended = async (node: LeanNode): Promise<void> => {
  await Promise.all(node.connections().map(({ closed }) => closed));
};

for (const stack of await stacksHere()) {
  describe(`relay over ${stack.name}`, SUITE, () => {
    it('connects two peers that do not know each other’s address', async (t) => {
      const { server, listener, dialer, connection, address, circuit } = await relayed(t, stack);
      assert.deepEqual(listener.addresses().map(String), [`${address}`]);
      assert.ok(connection.remotePeer.equals(listener.peerId));
      assert.ok(connection.circuit?.relay.equals(server.peerId));
      assert.deepEqual(connection.circuit?.limit, { duration: 120, data: 131_072 });
      assert.match(connection.description, /^p2p-circuit\/noise\//);
      assert.equal(`${connection.remoteAddress}/p2p/${listener.peerId}`, `${address}`);
      assert.ok((await ping(connection)) > 0);
      const there = await acceptedFrom(listener, dialer);
      assert.deepEqual(there.circuit?.limit, { duration: 120, data: 131_072 });
      assert.ok((await ping(there)) > 0);
      const { listenAddrs } = await identify(connection);
      assert.deepEqual(listenAddrs.map(String), [circuit]);
    });

    it('ends at the other side when one side closes it', async (t) => {
      const { listener, dialer, connection } = await relayed(t, stack);
      const there = await acceptedFrom(listener, dialer);
      await connection.close();
      assert.equal((await there.closed).by, 'remote');
    });

    it('resets a circuit that carries more than it may, or lasts longer', async (t) => {
      const open = async (relay: NodeOptions['relay']) => {
        const { listener, connection } = await relayed(t, stack, relay);
        listener.handle(ECHO, echo);
        const stream = await connection.newStream(ECHO);
        stream.write(new Uint8Array(10));
        assert.equal((await readExactly(stream, 10)).length, 10);
        return { connection, stream };
      };
      for (const what of ['data', 'time']) {
        const { connection, stream } =
          what === 'data'
            ? await open({ circuitData: 20_000 })
            : await longEnough([300, 2_000, 8_000], (circuitTime) => open({ circuitTime }));
        if (what === 'data') stream.write(new Uint8Array(20_000));
        await connection.closed;
        await assert.rejects(async () => {
          while ((await stream.read()) !== null);
        }, code('ERR_CONNECTION_CLOSED'));
      }
    });

    it('has protocols that are not for limited connections, and others that are', async (t) => {
      const { listener, address, connection } = await relayed(t, stack);
      listener.handle('/always/1', echo);
      listener.handle('/large/1', echo, { runOnLimitedConnection: false });
      const protocols = ['/large/1', '/always/1'];
      assert.equal((await connection.newStream(protocols)).protocol, '/always/1');
      await listener.listen(stack.listen());
      const direct = await makeNode(t, stack.options);
      const [, own] = listener.addresses();
      assert.ok(own !== undefined && !own.toString().includes('p2p-circuit'), `${address}, ${own}`);
      const stream = await (await direct.dial(own)).newStream(protocols);
      assert.equal(stream.protocol, '/large/1');
    });

    it('refuses whom nobody has asked it to reach, and is refused by who is no relay', async (t) => {
      const { listener, dialer, circuit } = await makeThree(t, stack);
      const stranger = peerIdOf(generateHostKey().publicKey);
      const unknown = withPeer(parseMultiaddr(circuit), stranger);
      await assert.rejects(dialer.dial(unknown), code('ERR_RELAY', /NO_RESERVATION/));
      const { address } = await dialer.listen(stack.listen());
      await assert.rejects(
        listener.listen(`${address}/p2p-circuit`),
        code('ERR_PROTOCOL_NOT_SUPPORTED'),
      );
      assert.deepEqual(listener.addresses(), []);
    });

    it('has the reservation again after the relay has come back', async (t) => {
      const { server, listener, dialer, circuit } = await makeThree(t, stack);
      const reserved = eventsOf(listener, 'relay:reserve');
      const lost = eventsOf(listener, 'relay:lost');
      const { address } = await listener.listen(circuit);
      await reserved.next();
      for (const connection of server.connections()) await connection.close();
      await lost.next();
      assert.ok((await reserved.next()).relay.equals(server.peerId));
      const connection = await dialer.dial(address);
      assert.ok((await ping(connection)) > 0);
    });

    it('forgets the reservation of a peer that has left', async (t) => {
      const { server, listener, dialer, circuit } = await makeThree(t, stack);
      const { address } = await listener.listen(circuit);
      await listener.close();
      await ended(server);
      await assert.rejects(dialer.dial(address), code('ERR_RELAY', /NO_RESERVATION/));
    });
  });
}
