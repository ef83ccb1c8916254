/** Streams that a node opens and serves, by their protocols. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { multiaddr } from '@multiformats/multiaddr';
import type { Connection, TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { identify } from '../../src/protocols/identify.ts';
import { handlePerf, PERF, perf } from '../../src/protocols/perf.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import type { Stream } from '../../src/stream.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { tcp } from '../../src/transports/factories.ts';
import { acceptedFrom, eventsOf, makeNode, stacksHere } from '../support/nodes.ts';
import { inbox, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const never = (): Promise<void> => new Promise(() => {});

for (const { name, options, listen } of await stacksHere()) {
  describe(name, SUITE, () => {
    const makePair = async (t: TestContext) => {
      const [listener, dialer] = [await makeNode(t, options), await makeNode(t, options)];
      const { address } = await listener.listen(listen());
      return { listener, dialer, connection: await dialer.dial(address) };
    };

    test('of several protocols the first one is taken that the peer has', async (t) => {
      const { listener, connection } = await makePair(t);
      const served = inbox<string>();
      listener.handle('/b/1', async (stream, _, protocol) => {
        served.push(protocol);
        stream.write(text('b'));
      });
      listener.handle('/c/1', async () => {});
      const stream = await connection.newStream(['/a/1', '/b/1', '/c/1']);
      assert.equal(stream.protocol, '/b/1');
      assert.equal(await served.next(), '/b/1');
      assert.equal((await readAll(stream)).toString(), 'b');
      stream.closeWrite();
      const error = await rejection(connection.newStream(['/x/1', '/y/1']));
      assert(isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(error));
      assert(isLeanError(await rejection(connection.newStream([])), 'ERR_OPTIONS'));
      assert.equal((await connection.newStream('/b/1')).protocol, '/b/1');
    });

    test('a protocol is refused once it is not handled any more; open streams go on', async (t) => {
      const { listener, connection } = await makePair(t);
      listener.handle('/upper/1', async (stream) => {
        for (let it = await stream.read(); it !== null; it = await stream.read()) {
          stream.write(text(Buffer.from(it).toString().toUpperCase()));
        }
      });
      const stream = await connection.newStream('/upper/1');
      stream.write(text('a'));
      assert.equal(Buffer.from((await stream.read()) ?? '').toString(), 'A');
      listener.unhandle('/upper/1');
      const error = await rejection((await connection.newStream('/upper/1')).read());
      assert(isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(error));
      stream.write(text('b'));
      stream.closeWrite();
      assert.equal((await readAll(stream)).toString(), 'B');
      const { protocols } = await identify(connection);
      assert(!protocols.includes('/upper/1') && protocols.includes(PING));
    });

    test('of one protocol a connection gets no more streams than its handler allows', async (t) => {
      const { listener, dialer, connection } = await makePair(t);
      const refusals = eventsOf(listener, 'stream:refuse');
      const ends = inbox<() => void>();
      const handler = async (stream: Stream): Promise<void> => {
        stream.write(text('in'));
        await new Promise<void>((end) => ends.push(end));
      };
      listener.handle('/few/1', handler, { maxInboundStreams: 2 });
      const open = async (over: Connection): Promise<string> => {
        const stream = await over.newStream('/few/1');
        stream.closeWrite();
        return Buffer.from((await stream.read()) ?? '').toString();
      };
      assert.equal(await open(connection), 'in');
      assert.equal(await open(connection), 'in');
      const error = await rejection(open(connection));
      assert(isLeanError(error, 'ERR_STREAM_RESET'), String(error));
      assert((await refusals.next()).error.message.includes('more than 2 streams of /few/1'));
      // Other protocols and other connections go on, and a stream that ends makes room.
      assert((await ping(connection)) > 0);
      const another = await dialer.dial(listener.addresses()[0] ?? '', { force: true });
      assert.equal(await open(another), 'in');
      (await ends.next())();
      // The listener may see the stream's end a little later.
      while ((await open(connection).catch(String)) !== 'in') await ping(connection);
      for (const most of [0, -1, 1.5, Number.NaN]) {
        assert.throws(
          () => listener.handle('/few/1', handler, { maxInboundStreams: most }),
          (it) => isLeanError(it, 'ERR_OPTIONS'),
        );
      }
    });

    test('a peer that answers nothing is waited for until the signal fires', async (t) => {
      const { listener, connection } = await makePair(t);
      const opened = eventsOf(listener, 'stream:open');
      listener.handle(PING, never);
      listener.handle(PERF, never);
      listener.handle('/ipfs/id/1.0.0', never);
      const uses = [
        (signal: AbortSignal) => ping(connection, { signal }),
        (signal: AbortSignal) => identify(connection, { signal }),
        (signal: AbortSignal) => perf(connection, 1, 1, { signal }),
      ];
      for (const use of uses) {
        const abort = new AbortController();
        const failed = rejection(use(abort.signal));
        await opened.next();
        abort.abort();
        assert(isLeanError(await failed, 'ERR_ABORTED'));
        assert(isLeanError(await rejection(use(abort.signal)), 'ERR_ABORTED'));
      }
      const aborted = connection.newStream(PING, { signal: AbortSignal.abort() });
      assert(isLeanError(await rejection(aborted), 'ERR_ABORTED'));
    });

    test('a peer that does not negotiate is waited for until the signal fires', async (t) => {
      const hostKey = generateHostKey();
      const [factory] = options.transports ?? [];
      const transport = await factory?.({
        hostKey,
        localPeer: peerIdOf(hostKey.publicKey),
        tls: async () => issueCertificate(hostKey),
        limits: {},
        emit: () => {},
      });
      assert(transport !== undefined);
      const accepted = inbox<TransportConnection>();
      const listener = await transport.listen(multiaddr(listen()), {
        onConnection: (theirs) => accepted.push(theirs),
        onRefused: () => {},
      });
      t.after(() => listener.close());
      const connection = await (await makeNode(t, options)).dial(listener.address);
      const abort = new AbortController();
      const waiting = rejection(connection.newStream(['/a/1', '/b/1'], { signal: abort.signal }));
      const theirs = await (await accepted.next()).acceptStream();
      assert(theirs !== null && (await theirs.read()) !== null);
      abort.abort();
      assert(isLeanError(await waiting, 'ERR_ABORTED'));
    });

    test('a stream that the peer does not allow is waited for until the time limit', async (t) => {
      // Only QUIC has a say before a stream is opened.
      if (!listen().includes('/quic-v1')) return t.skip('streams are opened without leave here');
      const listener = await makeNode(t, { ...options, limits: { maxStreams: 1 } });
      const { address } = await listener.listen(listen());
      const connection = await (await makeNode(t, options)).dial(address);
      const open = await connection.newStream(PING);
      await ping(open);
      const error = await rejection(connection.newStream(PING, { timeout: 50 }));
      assert(isLeanError(error, 'ERR_TIMEOUT'), String(error));
      const next = connection.newStream(PING);
      open.closeWrite();
      assert.equal(await open.read(), null);
      assert((await ping(await next)) > 0);
    });

    test('streams that were waited for in vain are not opened later', async (t) => {
      if (!listen().includes('/quic-v1')) return t.skip('streams are opened without leave here');
      const listener = await makeNode(t, { ...options, limits: { maxStreams: 1 } });
      const { address } = await listener.listen(listen());
      const connection = await (await makeNode(t, options)).dial(address);
      const opened = eventsOf(listener, 'stream:open');
      const open = await connection.newStream(PING);
      await ping(open);
      for (let i = 0; i < 20; i++) {
        const options = i % 2 === 0 ? { timeout: 1 } : { signal: AbortSignal.timeout(1) };
        const error = await rejection(connection.newStream(PING, options));
        assert(isLeanError(error), String(error));
      }
      open.closeWrite();
      assert.equal(await open.read(), null);
      const next = await connection.newStream(PING);
      await ping(next);
      await opened.next();
      // Ids are given in order, so it tells how many were opened before it (RFC 9000 section 2.1).
      assert.equal((await opened.next()).streamId, '4');
    });

    test('ping, identify and perf take a connection', async (t) => {
      const { listener, connection } = await makePair(t);
      listener.handle(PERF, async (stream) => void (await handlePerf(stream)));
      assert((await ping(connection)) > 0);
      assert.equal((await identify(connection)).listenAddrs.length, 1);
      const { uploadMs, downloadMs } = await perf(connection, 100_000, 100_000);
      assert(uploadMs > 0 && downloadMs > 0);
    });

    test('nobody but the node accepts streams', async (t) => {
      const { listener, dialer, connection } = await makePair(t);
      const theirs = await acceptedFrom(listener, dialer);
      for (const each of [connection, theirs]) {
        assert(!('acceptStream' in each) && !('openStream' in each));
      }
    });

    test('a connection, a listener and a node are closed with their scope', async (t) => {
      const { listener, dialer, connection: first } = await makePair(t);
      const unbound = eventsOf(listener, 'listen:close');
      let closed: Connection['closed'];
      {
        await using bound = await listener.listen(listen());
        await using connection = await dialer.dial(bound.address, { force: true });
        closed = connection.closed;
        assert((await ping(connection)) > 0);
        assert.equal(listener.addresses().length, 2);
      }
      assert.equal((await closed).by, 'local');
      await unbound.next();
      assert.equal(listener.addresses().length, 1);
      // The other listener of the node, and its connections, are there as before.
      assert((await ping(first)) > 0);
      {
        await using node = await makeNode(t, options);
        assert.notEqual(node.peerId, dialer.peerId);
        await node.listen(listen());
      }
    });
  });
}

test('one listener of several is closed, with its connections', HANG, async (t) => {
  const [listener, dialer] = [await makeNode(t), await makeNode(t)];
  const closing = await listener.listen('/ip4/127.0.0.1/tcp/0');
  const staying = await listener.listen('/ip4/127.0.0.1/tcp/0');
  const over = await dialer.dial(closing.address);
  const other = await dialer.dial(staying.address, { force: true });
  await Promise.all([closing.close(), closing.close()]);
  assert.equal((await over.closed).by, 'remote');
  assert((await ping(other)) > 0);
  assert.deepEqual(listener.addresses().map(String), [staying.address.toString()]);
  assert(isLeanError(await rejection(dialer.dial(closing.address, { force: true })), 'ERR_DIAL'));
});

test('listening ends with its signal', HANG, async (t) => {
  const node = await makeNode(t);
  const abort = new AbortController();
  const listening = rejection(node.listen('/ip4/127.0.0.1/tcp/0', { signal: abort.signal }));
  abort.abort();
  assert(isLeanError(await listening, 'ERR_ABORTED'));
  assert.deepEqual(node.addresses(), []);
  const again = node.listen('/ip4/127.0.0.1/tcp/0', { signal: abort.signal });
  assert(isLeanError(await rejection(again), 'ERR_ABORTED'));
});

test(
  'streams whose peer does not agree on a protocol keep nothing of those that come after them',
  HANG,
  async (t) => {
    const options = { transports: [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })] };
    const [listener, dialer] = [await makeNode(t, options), await makeNode(t, options)];
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    const connection = await dialer.dial(address);
    // Each is answered `na`, and waited for to propose something else: one less than may negotiate at once.
    for (let i = 0; i < 31; i++) await connection.newStream('/x/1');
    const pings = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const stream = await connection.newStream(PING);
        stream.closeWrite();
        assert.equal(await stream.read(), null);
      }
    };
    await pings(200);
    gc();
    const before = getHeapStatistics().used_heap_size;
    await Promise.all(Array.from({ length: 8 }, () => pings(500)));
    gc();
    const held = getHeapStatistics().used_heap_size - before;
    assert.ok(held < 4 << 20, `${held} bytes are held of 4,000 streams that have ended`);
  },
);
