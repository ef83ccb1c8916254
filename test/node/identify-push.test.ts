/** Identify push: peers hear of what has changed. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Connection } from '../../src/connection.ts';
import { createIdentifyPush } from '../../src/node/identify-push.ts';
import { encodeIdentify, IDENTIFY_PUSH, identify } from '../../src/protocols/identify.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { writeMessage } from '../../src/stream/messages.ts';
import { acceptedFrom, eventsOf, makeNode, stacksHere } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';

for (const stack of await stacksHere()) {
  describe(`identify push over ${stack.name}`, SUITE, () => {
    it('tells both ways of addresses and protocols that are new or gone', async (t) => {
      const [listener, dialer] = [
        await makeNode(t, stack.options),
        await makeNode(t, stack.options),
      ];
      const { address } = await listener.listen(stack.listen());
      const connection = await dialer.dial(address);
      await identify(connection);
      const heard = eventsOf(listener, 'identify:push');
      const bound = await dialer.listen(stack.listen());
      const { info, connection: back } = await heard.next();
      assert.ok(back.remotePeer.equals(dialer.peerId));
      assert.deepEqual(
        info.listenAddrs.map((it) => `${it}/p2p/${dialer.peerId}`),
        [`${bound.address}`],
      );
      assert.ok(info.protocols.includes(PING));

      const heardBack = eventsOf(dialer, 'identify:push');
      listener.handle('/new/1', async () => {});
      assert.ok((await heardBack.next()).info.protocols.includes('/new/1'));
      listener.unhandle('/new/1');
      assert.ok(!(await heardBack.next()).info.protocols.includes('/new/1'));

      // Nothing new, nothing said: the next word is of the next change.
      listener.handle(PING, async () => {});
      await bound.close();
      assert.deepEqual((await heard.next()).info.listenAddrs, []);
      assert.equal(heardBack.size, 0);
    });

    it('tells who comes later of what changed back since', async (t) => {
      const [listener, first, second] = [
        await makeNode(t, stack.options),
        await makeNode(t, stack.options),
        await makeNode(t, stack.options),
      ];
      const { address } = await listener.listen(stack.listen());
      const connection = await first.dial(address);
      await acceptedFrom(listener, first);
      const heard = eventsOf(first, 'identify:push');
      listener.handle('/new/1', async () => {});
      assert.ok((await heard.next()).info.protocols.includes('/new/1'));
      const left = eventsOf(listener, 'connection:close');
      await connection.close();
      await left.next();
      listener.unhandle('/new/1');

      const { protocols } = await identify(await second.dial(address));
      assert.ok(!protocols.includes('/new/1'));
      const heardLater = eventsOf(second, 'identify:push');
      listener.handle('/new/1', async () => {});
      assert.ok((await heardLater.next()).info.protocols.includes('/new/1'));
    });

    it('is not believed when it shows the key of another', async (t) => {
      const [listener, dialer, other] = [
        await makeNode(t, stack.options),
        await makeNode(t, stack.options),
        await makeNode(t, stack.options),
      ];
      const { address } = await listener.listen(stack.listen());
      const key = (await identify(await other.dial(address))).publicKey;
      const connection = await dialer.dial(address);
      const heard = eventsOf(listener, 'identify:push');
      const failed = eventsOf(listener, 'stream:error');
      const lies = [
        // The listener's own key is not the dialer's.
        encodeIdentify({
          publicKey: key,
          listenAddrs: [],
          observedAddr: undefined,
          protocols: [],
          agentVersion: undefined,
          protocolVersion: undefined,
        }),
        Buffer.alloc(100, 0xff),
        Buffer.alloc(8 * 1024 + 1),
      ];
      for (const lie of lies) {
        const stream = await connection.newStream(IDENTIFY_PUSH);
        await writeMessage(stream, lie);
        stream.closeWrite();
        assert.equal((await failed.next()).protocol, IDENTIFY_PUSH);
      }
      assert.equal(heard.size, 0);
      assert.ok((await ping(connection)) > 0);
    });
  });
}

it('identify push looks at nothing while nobody is connected', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const said = t.mock.fn(() => '');
  const push = createIdentifyPush(
    () => [],
    said,
    async () => {},
    new AbortController().signal,
  );
  push.changed();
  t.mock.timers.tick(1_000);
  assert.equal(said.mock.callCount(), 0);
});

describe('identify push, when much changes', () => {
  const turn = () => new Promise((go) => setImmediate(go));

  /** As many changes as are asked for, to peers that `push` serves. */
  const changing = (t: TestContext, push: () => Promise<void>) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let changes = 0;
    const connections = Array.from({ length: 40 }, () => ({}) as Connection);
    const { signal } = new AbortController();
    const pushes = createIdentifyPush(
      () => connections,
      () => `${changes}`,
      push,
      signal,
    );
    return async (ms: number): Promise<void> => {
      changes++;
      pushes.changed();
      t.mock.timers.tick(ms);
      for (let i = 0; i < 50; i++) await turn();
    };
  };

  it('waits for peers that do not take it before it is sent again', async (t) => {
    let waiting = 0;
    const change = changing(t, () => {
      waiting++;
      return new Promise(() => {});
    });
    for (let i = 0; i < 5; i++) await change(10_000);
    assert.equal(waiting, 16);
  });

  it('is sent less often', async (t) => {
    let sent = 0;
    const change = changing(t, async () => {
      sent++;
    });
    for (let i = 0; i < 30; i++) await change(100);
    assert.equal(sent, 12 * 40);
    await change(5_000);
    assert.equal(sent, 13 * 40);
  });
});
