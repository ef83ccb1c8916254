/** Identify push with js-libp2p 3, in both directions, over TCP. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { identify, identifyPush } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { createLibp2p } from 'libp2p';
import { tcp as leanTcp } from '../../src/transports/factories.ts';
import { eventsOf, makeNode } from '../support/nodes.ts';
import { inbox } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const LOOPBACK = '/ip4/127.0.0.1/tcp/0';

describe('identify push with js-libp2p', SUITE, () => {
  it('each hears of what is new of the other', async (t) => {
    const peer = await createLibp2p({
      addresses: { listen: [LOOPBACK] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify(), identifyPush: identifyPush() },
    });
    t.after(() => peer.stop());
    const updates = inbox<string[]>();
    peer.addEventListener('peer:identify', ({ detail }) => updates.push(detail.protocols));
    const node = await makeNode(t, {
      transports: [leanTcp({ secureChannels: ['noise'], muxers: ['yamux'] })],
    });
    const heard = eventsOf(node, 'identify:push');
    const [address] = peer.getMultiaddrs();
    assert.ok(address !== undefined);
    await node.dial(address.toString());
    // What it asked for itself, when the connection was new.
    await updates.next();
    node.handle('/new/1', async () => {});
    while (!(await updates.next()).includes('/new/1'));
    await peer.handle('/their/new/1', () => {});
    while (!(await heard.next()).info.protocols.includes('/their/new/1'));
  });
});
