/** Nodes over real QUIC, once per engine of the running runtime. */

import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { Connection, TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import {
  kindOf,
  multiaddrOf,
  socketAddressOf,
  withoutPeer,
  withPeer,
} from '../../src/multiaddr.ts';
import type { NodeEvents } from '../../src/node/events.ts';
import { createNode, type LeanNode, type NodeOptions } from '../../src/node/node.ts';
import { DCUTR } from '../../src/protocols/dcutr.ts';
import { IDENTIFY, IDENTIFY_PUSH, identify } from '../../src/protocols/identify.ts';
import { handlePerf, PERF, perf } from '../../src/protocols/perf.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { selectEngine } from '../../src/quic/select.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import { quicTransport } from '../../src/transports/quic.ts';
import { AGENT_VERSION } from '../../src/version.ts';
import { enginesHere } from '../support/engines.ts';
import { eventsOf } from '../support/nodes.ts';
import {
  deadAddress,
  echo,
  hasIPv6,
  inbox,
  readAll,
  rejection,
  silentSocket,
} from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** A connection of its own, whatever there is. */
const FORCE = { force: true };
const LOOPBACK = '/ip4/127.0.0.1/udp/0/quic-v1';
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const stranger = peerIdOf(generateHostKey().publicKey);
const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

for (const quicEngine of await enginesHere(['dialer', 'listener'])) {
  const makeNode = async (t: TestContext, options: NodeOptions = {}): Promise<LeanNode> => {
    const node = await createNode({
      transports: [quic({ engine: quicEngine }), tcp(), websocket()],
      ...options,
    });
    t.after(() => node.close());
    return node;
  };
  /** A listener and a dialer with a connection between them. */
  const makePair = async (t: TestContext, options: NodeOptions = {}) => {
    const [listener, dialer] = await Promise.all([makeNode(t, options), makeNode(t)]);
    const address = (await listener.listen(LOOPBACK)).address;
    const connection = await dialer.dial(address);
    return { listener, dialer, address, connection };
  };
  /** A connection whose streams nobody has negotiated. */
  const dialRaw = async (t: TestContext, address: Multiaddr): Promise<TransportConnection> => {
    const hostKey = generateHostKey();
    const { engine } = await selectEngine(quicEngine, 'dialer');
    const transport = quicTransport({ engine, hostKey, tls: issueCertificate(hostKey) });
    const signal = AbortSignal.timeout(20_000);
    const connection = await transport.dial(withoutPeer(address), {
      expectedPeer: undefined,
      signal,
    });
    t.after(() => connection.close());
    return connection;
  };

  describe(`a node on the ${quicEngine} engine`, SUITE, () => {
    it('listens on a free port and names itself', async (t) => {
      const node = await makeNode(t);
      const bound = (await node.listen(LOOPBACK)).address;
      assert.match(bound.toString(), /^\/ip4\/127\.0\.0\.1\/udp\/[1-9]\d*\/quic-v1\/p2p\/12D3/);
      assert(bound.toString().endsWith(`/p2p/${node.peerId}`));
      assert.deepEqual(node.addresses().map(String), [bound.toString()]);
      const any = (await node.listen('/ip4/0.0.0.0/udp/0/quic-v1')).address;
      const reachable = node.addresses().slice(1).map(String);
      assert(reachable.length > 0 && !reachable.some((it) => it.includes('0.0.0.0')));
      const port = any.getComponents()[1]?.value;
      assert(reachable.includes(`/ip4/127.0.0.1/udp/${port}/quic-v1/p2p/${node.peerId}`));
      assert(!withoutPeer(any).equals(any));
    });

    it('has one identity for its whole life, and the one it is given', async (t) => {
      const hostKey = generateHostKey();
      const node = await makeNode(t, { hostKey });
      assert(node.peerId.equals(peerIdOf(hostKey.publicKey)));
      const dialer = await makeNode(t);
      const connection = await dialer.dial((await node.listen(LOOPBACK)).address);
      assert(connection.remotePeer.equals(node.peerId));
      assert(connection.localPeer.equals(dialer.peerId));
    });

    it('answers pings, many on one stream and on many streams at once', async (t) => {
      const { connection } = await makePair(t);
      const pings = async (count: number) => {
        const stream = await connection.newStream(PING);
        for (let i = 0; i < count; i++) assert((await ping(stream)) > 0);
        stream.closeWrite();
        assert.equal(await stream.read(), null);
      };
      await Promise.all(Array.from({ length: 20 }, () => pings(10)));
    });

    it('sends header, proposal and first payload in one packet', async (t) => {
      const [listener, dialer] = await Promise.all([makeNode(t), makeNode(t)]);
      const address = (await listener.listen(LOOPBACK)).address;
      const relay = await udpRelay(socketAddressOf(withoutPeer(address)));
      t.after(() => relay.close());
      const connection = await dialer.dial(multiaddrOf('quic-v1', relay.address));
      await ping(await connection.newStream(PING));
      // 70 bytes of payload, and at least 20 of QUIC around them; acknowledgements are shorter.
      const isShort = (length: number): boolean => length <= 50;
      const seen: string[] = [];
      // On a busy machine packets are sent again, or a longer one finds out what the path takes: not always.
      for (let tries = 0; tries < 20; tries++) {
        await relay.quiet();
        relay.forward.length = 0;
        await ping(await connection.newStream(PING));
        const [first = 0, ...others] = relay.forward.filter((it) => !isShort(it));
        if (first > 90 && others.length === 0) return;
        seen.push(relay.forward.join(' '));
      }
      assert.fail(`datagrams: ${seen.join('; ')}`);
    });

    it('is pinged over the connection that it dialled, too', async (t) => {
      const accepted = inbox<Connection>();
      const { listener, dialer, connection } = await makePair(t);
      listener.handle('/here/1', async (_, theirs) => accepted.push(theirs));
      (await connection.newStream('/here/1')).closeWrite();
      const theirs = await accepted.next();
      assert.equal(theirs.role, 'listener');
      assert(theirs.remotePeer.equals(dialer.peerId));
      assert((await ping(await theirs.newStream(PING))) > 0);
    });

    it('says who it is', async (t) => {
      const { listener, connection } = await makePair(t);
      const told = await identify(connection);
      assert.equal(told.agentVersion, AGENT_VERSION);
      assert.deepEqual(told.protocols, [PING, IDENTIFY, IDENTIFY_PUSH, DCUTR]);
      const listens = listener.addresses().map((it) => withoutPeer(it).toString());
      assert.deepEqual(told.listenAddrs.map(String), listens);
      assert.equal(told.observedAddr?.toString(), connection.localAddress.toString());
    });

    it('moves perf transfers of any size', async (t) => {
      const { listener, connection } = await makePair(t);
      const served = inbox<{ uploaded: number; downloaded: number }>();
      listener.handle(PERF, async (stream) => served.push(await handlePerf(stream)));
      for (const [up, down] of [
        [0, 0],
        [1, 0],
        [0, 1],
        [4 << 20, 0],
        [0, 4 << 20],
        [1_000_003, 2_000_005],
      ] as const) {
        await perf(await connection.newStream(PERF), up, down);
        assert.deepEqual(await served.next(), { uploaded: up, downloaded: down });
      }
    });

    it('serves protocols of its user', async (t) => {
      const { listener, connection } = await makePair(t);
      listener.handle('/echo/1', echo);
      const stream = await connection.newStream('/echo/1');
      stream.write(text('hello'));
      stream.closeWrite();
      assert.equal((await readAll(stream)).toString(), 'hello');
    });

    it('resets the stream of a handler that fails, and nothing else', async (t) => {
      const failures = inbox<NodeEvents['stream:error']>();
      const { listener, connection } = await makePair(t);
      listener.addEventListener('stream:error', ({ detail }) => failures.push(detail));
      listener.handle('/fail/1', async () => {
        throw new Error('handler failed');
      });
      const stream = await connection.newStream('/fail/1');
      await assert.rejects(readAll(stream), code('ERR_STREAM_RESET'));
      const { error, protocol, connection: theirs } = await failures.next();
      assert.deepEqual([error.message, protocol], ['handler failed', '/fail/1']);
      assert(theirs.remotePeer.equals(connection.localPeer));
      assert((await ping(await connection.newStream(PING))) > 0);
    });

    it('ends the stream of a handler that returns before the peer has finished', async (t) => {
      const { listener, connection } = await makePair(t);
      listener.handle('/brief/1', async (stream) => {
        stream.write(text('bye'));
      });
      const stream = await connection.newStream('/brief/1');
      stream.write(text('something that nobody reads'));
      assert.equal((await readAll(stream)).toString(), 'bye');
      stream.closeWrite();
    });

    it('refuses protocols that it does not know, and lives on', async (t) => {
      const { connection } = await makePair(t);
      const stream = await connection.newStream('/unknown/1');
      stream.write(text('payload'));
      await assert.rejects(stream.read(), code('ERR_PROTOCOL_NOT_SUPPORTED'));
      assert((await ping(await connection.newStream(PING))) > 0);
    });

    it('refuses a peer that is not the one dialled', async (t) => {
      const { dialer, address } = await makePair(t);
      const wrong = withPeer(address, stranger);
      await assert.rejects(dialer.dial(wrong), code('ERR_PEER_ID_MISMATCH'));
      assert((await dialer.dial(address, FORCE)).remotePeer.toString() !== stranger.toString());
    });

    it('accepts whoever answers where no peer is named', async (t) => {
      const { listener, dialer, address } = await makePair(t);
      const connection = await dialer.dial(withoutPeer(address));
      assert(connection.remotePeer.equals(listener.peerId));
    });

    it('dials names and IPv6', async (t) => {
      const { listener, dialer, address } = await makePair(t);
      const [, ...rest] = address.getComponents();
      const named = multiaddr([{ code: 54, name: 'dns4', value: 'localhost' }, ...rest]);
      assert.equal(kindOf(named), 'quic-v1');
      assert((await dialer.dial(named, FORCE)).remotePeer.equals(listener.peerId));
      if (!(await hasIPv6())) return t.diagnostic('no IPv6 here: not dialled');
      const six = await dialer.dial(
        (await listener.listen('/ip6/::1/udp/0/quic-v1')).address,
        FORCE,
      );
      assert.match(six.remoteAddress.toString(), /^\/ip6\/::1\/udp\/\d+\/quic-v1$/);
      return undefined;
    });

    it('refuses addresses that it cannot dial, each with its reason', async (t) => {
      const node = await makeNode(t);
      const cases: [string | string[], string][] = [
        ['nonsense', 'ERR_ADDRESS'],
        [[], 'ERR_ADDRESS'],
        [`/ip4/127.0.0.1/udp/1/quic-v1/p2p/12D3Koo`, 'ERR_ADDRESS'],
        ['/ip4/127.0.0.1/udp/0/quic-v1', 'ERR_ADDRESS'],
        ['/ip4/127.0.0.1/udp/1/quic-v1/webtransport', 'ERR_UNSUPPORTED'],
        [
          [
            `/ip4/127.0.0.1/udp/1/quic-v1/p2p/${stranger}`,
            `/ip4/127.0.0.1/udp/2/quic-v1/p2p/${node.peerId}`,
          ],
          'ERR_ADDRESS',
        ],
        ['/dns4/does-not-exist.invalid/udp/1/quic-v1', 'ERR_ADDRESS'],
      ];
      for (const [address, expected] of cases) {
        const error = await rejection(node.dial(address));
        assert(isLeanError(error), `${address}: ${error}`);
        assert.equal(error.code, expected, `${address}: ${error.message}`);
        if (typeof address === 'string') assert(error.message.includes(address), error.message);
      }
      await assert.rejects(node.listen('/ip4/127.0.0.1/udp/0'), code('ERR_UNSUPPORTED'));
      await assert.rejects(node.listen('/dns4/localhost/udp/0/quic-v1'), code('ERR_ADDRESS'));
    });

    it('reports a port in use', async (t) => {
      const { listener, address } = await makePair(t);
      await assert.rejects(listener.listen(address), code('ERR_LISTEN'));
    });

    it('gives up on a silent address after its time, and when told to', async (t) => {
      const silent = await silentSocket();
      t.after(() => silent.close());
      const address = multiaddrOf('quic-v1', silent.address);
      const hasty = await makeNode(t, { dialTimeout: 50 });
      await assert.rejects(hasty.dial(address), code('ERR_TIMEOUT'));
      const abort = new AbortController();
      const dial = hasty.dial(address, { signal: abort.signal });
      abort.abort();
      await assert.rejects(dial, code('ERR_ABORTED'));
      await assert.rejects(hasty.dial(address, { signal: abort.signal }), code('ERR_ABORTED'));
    });

    it('takes the address that answers, whatever the others do', async (t) => {
      const { listener, dialer, address } = await makePair(t);
      const silent = await silentSocket();
      t.after(() => silent.close());
      const connection = await dialer.dial(
        [
          multiaddrOf('quic-v1', silent.address),
          multiaddrOf('quic-v1', await deadAddress()),
          '/ip4/127.0.0.1/udp/1/quic-v1/webtransport',
          '/dns4/does-not-exist.invalid/udp/1/quic-v1',
          address,
        ],
        FORCE,
      );
      assert(connection.remotePeer.equals(listener.peerId));
      assert.equal(connection.remoteAddress.toString(), withoutPeer(address).toString());
      assert((await ping(await connection.newStream(PING))) > 0);
    });

    it('keeps one connection of several that answer', async (t) => {
      const events = inbox<string>();
      const [listener, dialer] = [await makeNode(t), await makeNode(t)];
      listener.addEventListener('connection:open', ({ type }) => events.push(type));
      listener.addEventListener('connection:close', ({ type }) => events.push(type));
      const both = [await listener.listen(LOOPBACK), await listener.listen(LOOPBACK)];
      const connection = await dialer.dial(both.map(({ address }) => address));
      assert((await ping(await connection.newStream(PING))) > 0);
      await dialer.close();
      // Every connection that the listener accepted ends, the losers' too.
      let open = 0;
      for (;;) {
        const event = await events.next();
        if (event === 'connection:open') open++;
        if (event === 'connection:close' && --open === 0 && events.size === 0) break;
      }
    });

    for (const tail of ['tcp/0', 'tcp/0/ws']) {
      it(`falls back to ${tail} when QUIC is silent, and at once when it is refused`, async (t) => {
        const { listener, dialer } = await makePair(t);
        const address = (await listener.listen(`/ip4/127.0.0.1/${tail}`)).address;
        const silent = await silentSocket();
        t.after(() => silent.close());
        for (const at of [silent.address, await deadAddress()]) {
          const connection = await dialer.dial([multiaddrOf('quic-v1', at), address], FORCE);
          assert(connection.remotePeer.equals(listener.peerId));
          assert.equal(connection.remoteAddress.toString(), withoutPeer(address).toString());
          assert((await ping(await connection.newStream(PING))) > 0);
          const told = await identify(connection);
          assert(told.listenAddrs.map(String).includes(withoutPeer(address).toString()));
        }
      });

      it(`prefers QUIC to ${tail}`, async (t) => {
        const { listener, dialer, address } = await makePair(t);
        const other = (await listener.listen(`/ip4/127.0.0.1/${tail}`)).address;
        const attempts = eventsOf(dialer, 'dial:start');
        const quicFirst = withoutPeer(address).toString();
        // On a busy machine its head start may not be enough, but not always.
        for (let tries = 1; ; tries++) {
          const connection = await dialer.dial([other, address], FORCE);
          const { address: first } = await attempts.next();
          assert.equal(withoutPeer(first).toString(), quicFirst);
          while (attempts.size > 0) await attempts.next();
          const got = connection.remoteAddress.toString();
          if (got === quicFirst) break;
          assert(tries < 20, `${tries} times ${got}`);
        }
      });

      it(`refuses over ${tail} a peer that is not the one dialled`, async (t) => {
        const { listener, dialer } = await makePair(t);
        const address = (await listener.listen(`/ip4/127.0.0.1/${tail}`)).address;
        const wrong = withPeer(address, stranger);
        await assert.rejects(dialer.dial(wrong), code('ERR_PEER_ID_MISMATCH'));
      });
    }

    it('names every address when all fail', async (t) => {
      const dialer = await makeNode(t);
      const [a, b] = [await deadAddress(), await deadAddress()];
      const error = await rejection(
        dialer.dial([multiaddrOf('quic-v1', a), multiaddrOf('quic-v1', b)]),
      );
      assert(isLeanError(error), String(error));
      assert(
        error.message.includes(`/udp/${a.port}/`) && error.message.includes(`/udp/${b.port}/`),
      );
    });

    it('serves others while one peer keeps many streams without a protocol', async (t) => {
      const { listener, address, connection } = await makePair(t);
      const hostile = await dialRaw(t, address);
      const silent = [];
      for (let i = 0; i < 40; i++) {
        const stream = await hostile.openStream();
        stream.write(Uint8Array.of(19)); // the length of a header that does not come
        silent.push(stream);
      }
      const other = await makeNode(t);
      assert((await ping(await (await other.dial(address)).newStream(PING))) > 0);
      // The peer itself is served again when it lets go.
      for (const stream of silent) stream.reset();
      assert((await ping(await connection.newStream(PING))) > 0);
      assert(listener.addresses().length > 0);
    });

    it('survives a peer that answers nothing, closes mid-ping or sends garbage', async (t) => {
      const { listener, address, connection } = await makePair(t);
      listener.handle('/silent/1', () => new Promise(() => {}));
      const silent = await connection.newStream('/silent/1');
      await assert.rejects(ping(silent, { timeout: 50 }), code('ERR_TIMEOUT'));
      listener.handle('/short/1', async (stream) => {
        await readExactly(stream, 32);
        stream.write(new Uint8Array(16));
      });
      await assert.rejects(ping(await connection.newStream('/short/1')), code('ERR_EOF'));
      listener.handle('/wrong/1', async (stream) => {
        stream.write((await readExactly(stream, 32)).map((byte) => byte ^ 1));
      });
      await assert.rejects(ping(await connection.newStream('/wrong/1')), code('ERR_PING_MISMATCH'));
      const garbage = await (await dialRaw(t, address)).openStream();
      garbage.write(text('GET / HTTP/1.1\r\n\r\n'.repeat(9)));
      await assert.rejects(readAll(garbage), (error) => isLeanError(error, 'ERR_STREAM_RESET'));
      assert((await ping(await connection.newStream(PING))) > 0);
    });

    it('fails what is under way when the peer goes', async (t) => {
      const { listener, connection } = await makePair(t);
      listener.handle(PERF, (stream) => handlePerf(stream).then(() => {}));
      const stream = await connection.newStream(PERF);
      const transfer = rejection(perf(stream, 2 ** 40, 0));
      const pinged = await connection.newStream(PING);
      await ping(pinged);
      await listener.close();
      const error = await transfer;
      assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
      await assert.rejects(ping(pinged), code('ERR_CONNECTION_CLOSED'));
      await assert.rejects(connection.newStream(PING), code('ERR_CONNECTION_CLOSED'));
      assert.equal((await connection.closed).by, 'remote');
    });

    it('ends dials, connections and listeners when it closes, once', async (t) => {
      const { listener, dialer, address, connection } = await makePair(t);
      const silent = await silentSocket();
      t.after(() => silent.close());
      const dial = rejection(dialer.dial(multiaddrOf('quic-v1', silent.address)));
      await Promise.all([dialer.close(), dialer.close()]);
      assert(isLeanError(await dial, 'ERR_ABORTED'));
      assert.equal((await connection.closed).by, 'local');
      await assert.rejects(dialer.dial(address), code('ERR_ABORTED'));
      await assert.rejects(dialer.listen(LOOPBACK), code('ERR_ABORTED'));
      await listener.close();
      // The port is free again.
      const next = await makeNode(t);
      assert.equal(
        withoutPeer((await next.listen(address)).address).toString(),
        withoutPeer(address).toString(),
      );
    });
  });
}

/** Passes datagrams between one dialer and `target`, and notes the sizes of the dialer's. */
const udpRelay = async (target: SocketAddress) => {
  const [near, far] = [createSocket('udp4'), createSocket('udp4')];
  const forward: number[] = [];
  let last = performance.now();
  let dialer: RemoteInfo | undefined;
  near.on('message', (datagram, from) => {
    dialer = from;
    last = performance.now();
    forward.push(datagram.length);
    far.send(datagram, target.port, target.host);
  });
  far.on('message', (datagram) => {
    last = performance.now();
    if (dialer !== undefined) near.send(datagram, dialer.port, dialer.address);
  });
  await new Promise<void>((resolve) => near.bind(0, '127.0.0.1', resolve));
  return {
    address: { host: '127.0.0.1', port: near.address().port },
    forward,
    /** Resolves when nothing has passed for 100 ms. */
    quiet: async () => {
      while (performance.now() - last < 100) await delay(20);
    },
    close: () => {
      near.close();
      far.close();
    },
  };
};

describe('a node without a QUIC engine', () => {
  it('can be made; its use of QUIC says what is missing', async (t) => {
    const missing = (await enginesHere(['dialer'])).includes('node') ? undefined : 'node';
    if (missing === undefined) return t.skip('this runtime has every engine');
    const node = await createNode({ transports: [quic({ engine: missing })] });
    await assert.rejects(node.listen(LOOPBACK), code('ERR_ENGINE_UNAVAILABLE'));
    await assert.rejects(node.dial('/ip4/127.0.0.1/udp/1/quic-v1'), code('ERR_ENGINE_UNAVAILABLE'));
    return node.close();
  });
});
