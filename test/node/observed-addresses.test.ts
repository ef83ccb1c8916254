/** The addresses of a node that its peers observe, when many peers of one network say what they like. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { TransportConnection } from '../../src/connection.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { hostOf, multiaddrOf, parseMultiaddr } from '../../src/multiaddr.ts';
import { negotiate } from '../../src/multistream.ts';
import type { LeanNode } from '../../src/node/node.ts';
import { handleIdentify, IDENTIFY } from '../../src/protocols/identify.ts';
import { tcp } from '../../src/transports/factories.ts';
import { socketPath } from '../../src/transports/sockets.ts';
import { createUpgrade } from '../../src/transports/upgrade.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import { makeNode } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';

/** A relay, which asks those who dial it for the address that they see. */
const makeRelay = async (t: TestContext): Promise<LeanNode> => {
  const transports = [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })];
  const relay = await makeNode(t, { transports, relay: true });
  await relay.listen('/ip4/127.0.0.1/tcp/0');
  return relay;
};

/** A peer at `localAddress` that says it sees the relay at `observed`. Resolves when it has said so. */
const tell = async (
  t: TestContext,
  relay: LeanNode,
  localAddress: string,
  observed: string,
): Promise<TransportConnection> => {
  const address = relay.addresses().find((it) => hostOf(it).host === '127.0.0.1');
  assert.ok(address !== undefined);
  const socket = connect({ ...hostOf(address), localAddress, allowHalfOpen: true });
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  const upgrade = createUpgrade({
    hostKey: generateHostKey(),
    secureChannels: ['noise'],
    muxers: ['yamux'],
  });
  const wire = socketWire(socket, 'tcp');
  const { signal } = new AbortController();
  const peer = await upgrade.asDialer(wire, socketPath('tcp', socket), relay.peerId, signal);
  const stream = await peer.acceptStream();
  assert.ok(stream !== null);
  assert.equal(await negotiate(stream, [IDENTIFY]), IDENTIFY);
  await handleIdentify(stream, {
    publicKey: undefined,
    listenAddrs: [],
    observedAddr: parseMultiaddr(observed),
    protocols: [],
    agentVersion: undefined,
    protocolVersion: undefined,
  });
  while ((await stream.read()) !== null);
  return peer;
};

const TRUE = multiaddrOf('tcp', { host: '203.0.113.9', port: 4001 }).toString();

describe('peers of one network cannot keep a node from learning its address', SUITE, () => {
  const cases: readonly [what: string, lie: (i: number) => string][] = [
    ['with many addresses', (i) => `/ip4/203.0.113.7/tcp/${i + 1}`],
    ['with many that see it', () => TRUE],
  ];
  for (const [what, lie] of cases) {
    it(what, async (t) => {
      const relay = await makeRelay(t);
      for (let i = 0; i < 64; i++) await tell(t, relay, '127.9.0.1', lie(i));
      for (const network of [1, 2, 3]) await tell(t, relay, `127.${network}.0.1`, TRUE);
      const isKnown = (): boolean => relay.addresses().some((it) => it.toString().startsWith(TRUE));
      // The relay has read what was said, and looks at it in its next turn.
      for (let turn = 0; turn < 100 && !isKnown(); turn++) await delay(10);
      assert.ok(isKnown());
    });
  }
});
