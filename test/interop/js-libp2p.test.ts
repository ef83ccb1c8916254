/**
 * js-libp2p 3 with `@chainsafe/libp2p-quic` (quinn) as a peer, in both directions, over real UDP
 * sockets. Runs once per QUIC engine of the running runtime.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { quic } from '@chainsafe/libp2p-quic';
import { identify as jsIdentify } from '@libp2p/identify';
import { ping as jsPing } from '@libp2p/ping';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import type { Connection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { withoutPeer, withPeer } from '../../src/multiaddr.ts';
import { createNode, type LeanNode } from '../../src/node/node.ts';
import { DCUTR } from '../../src/protocols/dcutr.ts';
import { IDENTIFY, IDENTIFY_PUSH, identify } from '../../src/protocols/identify.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { quic as leanQuic } from '../../src/transports/factories.ts';
import { AGENT_VERSION } from '../../src/version.ts';
import { enginesHere } from '../support/engines.ts';
import { SUITE } from '../support/suite-limit.ts';

const startPeer = () =>
  createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] },
    transports: [quic()],
    services: { ping: jsPing(), identify: jsIdentify({ runOnConnectionOpen: false }) },
  });
const stranger = peerIdOf(generateHostKey().publicKey);

for (const quicEngine of await enginesHere(['dialer', 'listener'])) {
  describe(`js-libp2p and our ${quicEngine} engine`, SUITE, () => {
    let peer: Awaited<ReturnType<typeof startPeer>>;
    let node: LeanNode;

    before(async () => {
      [peer, node] = await Promise.all([
        startPeer(),
        createNode({ transports: [leanQuic({ engine: quicEngine })] }),
      ]);
      (await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')).address;
    });
    after(async () => {
      await Promise.all([peer?.stop(), node?.close()]);
    });
    const peerAddress = () => {
      const [address] = peer.getMultiaddrs();
      assert(address !== undefined);
      return multiaddr(address.toString());
    };
    const ourAddress = () => {
      const [address] = node.addresses();
      assert(address !== undefined);
      return address;
    };
    /** A js-libp2p node that has not met us yet. */
    const newPeer = async (t: TestContext) => {
      const dialer = await startPeer();
      t.after(() => dialer.stop());
      return dialer;
    };
    const us = () => multiaddr(ourAddress().toString());
    const dial = async <T>(use: (connection: Connection) => Promise<T>): Promise<T> => {
      const connection = await node.dial(peerAddress());
      try {
        return await use(connection);
      } finally {
        await connection.close();
      }
    };

    it('is dialled and pinged by us, many times on one stream', () =>
      dial(async (connection) => {
        assert.equal(connection.remotePeer.toString(), peer.peerId.toString());
        const stream = await connection.newStream(PING);
        for (let i = 0; i < 10; i++) assert((await ping(stream)) > 0);
        stream.closeWrite();
        assert.equal(await stream.read(), null);
      }));

    it('tells us who it is', () =>
      dial(async (connection) => {
        const told = await identify(connection);
        assert.match(told.agentVersion ?? '', /^js-libp2p\/3\./);
        assert(told.protocols.includes(PING) && told.protocols.includes(IDENTIFY));
        const listens = told.listenAddrs.map(String);
        assert(listens.includes(withoutPeer(peerAddress()).toString()), listens.join());
        assert(told.observedAddr !== undefined);
        const seen = withoutPeer(told.observedAddr).toString(); // js-libp2p adds /p2p
        assert.equal(seen, connection.localAddress.toString());
      }));

    it('dials and pings us', async (t) => {
      const dialer = await newPeer(t);
      const connection = await dialer.dial(us());
      assert.equal(connection.remotePeer.toString(), node.peerId.toString());
      for (let i = 0; i < 3; i++) {
        assert((await dialer.services.ping.ping(connection.remotePeer)) >= 0);
        // It opens one stream of ping at a time, and does not wait until the last one is closed by us too.
        while (connection.streams.length > 0) await delay(5);
      }
    });

    it('dials us again', async (t) => {
      const dialer = await newPeer(t);
      for (let i = 0; i < 3; i++) {
        const connection = await dialer.dial(us(), { signal: AbortSignal.timeout(10_000) });
        assert((await dialer.services.ping.ping(connection.remotePeer)) >= 0);
        await connection.close();
        // It reuses a connection that it does not yet know to be closed.
        while (dialer.getConnections().length > 0) await delay(5);
      }
    });

    it('learns from us who we are', async (t) => {
      const dialer = await newPeer(t);
      const told = await dialer.services.identify.identify(await dialer.dial(us()));
      assert.equal(told.peerId.toString(), node.peerId.toString());
      assert.equal(told.agentVersion, AGENT_VERSION);
      assert.equal(told.protocolVersion, 'ipfs/0.1.0');
      assert.deepEqual(told.protocols, [PING, IDENTIFY, IDENTIFY_PUSH, DCUTR]);
      assert.deepEqual(told.listenAddrs.map(String), [withoutPeer(ourAddress()).toString()]);
      const seen = told.observedAddr?.toString() ?? '';
      assert.match(seen, /^\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1$/);
    });

    it('is told that we do not support a protocol, and so are we', async (t) => {
      const dialer = await newPeer(t);
      const connection = await dialer.dial(us());
      await assert.rejects(connection.newStream('/no/such/1'), {
        name: 'UnsupportedProtocolError',
      });
      assert((await dialer.services.ping.ping(connection.remotePeer)) >= 0);
      await dial(async (ours) => {
        const stream = await ours.newStream('/no/such/1');
        const refused = (error: unknown) => isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED');
        await assert.rejects(stream.read(), refused);
        assert((await ping(await ours.newStream(PING))) > 0);
      });
    });

    it('is refused by us when it is not the peer that we dial', async () => {
      const wrong = withPeer(peerAddress(), stranger);
      await assert.rejects(node.dial(wrong), (error) => {
        assert(isLeanError(error, 'ERR_PEER_ID_MISMATCH'), String(error));
        assert.match(error.message, new RegExp(`${stranger}.*${peer.peerId}`));
        return true;
      });
      await dial(async () => {}); // it goes on serving
    });

    it('refuses us when we are not the peer that it dials', async (t) => {
      const wrong = multiaddr(withPeer(ourAddress(), stranger).toString());
      await assert.rejects((await newPeer(t)).dial(wrong), (error) => {
        assert.match(String(error), new RegExp(`${stranger} but connected to ${node.peerId}`));
        return true;
      });
      const dialer = await newPeer(t);
      const connection = await dialer.dial(us()); // we go on serving
      assert((await dialer.services.ping.ping(connection.remotePeer)) >= 0);
    });
  });
}
