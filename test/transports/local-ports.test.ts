/** TCP dials from a listener's port. */

import assert from 'node:assert/strict';
import { type AddressInfo, createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import type { TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { multiaddrOf, parseMultiaddr, socketAddressOf } from '../../src/multiaddr.ts';
import { REUSES_PORTS } from '../../src/transports/local-ports.ts';
import { socketPath } from '../../src/transports/sockets.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import type { TransportListener } from '../../src/transports/transport.ts';
import { createUpgrade } from '../../src/transports/upgrade.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import { type Inbox, inbox, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const LOOPBACK = parseMultiaddr('/ip4/127.0.0.1/tcp/0');
const { signal } = new AbortController();

interface Bound {
  readonly transport: ReturnType<typeof tcpTransport>;
  readonly listener: TransportListener;
  readonly accepted: Inbox<TransportConnection>;
  readonly peer: ReturnType<typeof peerIdOf>;
}

const listen = async (t: TestContext, address = LOOPBACK): Promise<Bound> => {
  const hostKey = generateHostKey();
  const transport = tcpTransport({ hostKey, secureChannels: ['noise'], muxers: ['yamux'] });
  const accepted = inbox<TransportConnection>();
  const listener = await transport.listen(address, {
    onConnection: accepted.push,
    onRefused: () => {},
  });
  t.after(() => listener.close());
  return { transport, listener, accepted, peer: peerIdOf(hostKey.publicKey) };
};

const portOf = (address: { toString(): string }): number =>
  socketAddressOf(parseMultiaddr(address.toString())).port;

const skip = REUSES_PORTS ? false : 'this platform has no SO_REUSEPORT for both';

describe('TCP dials from a listener’s port', { ...SUITE, skip }, () => {
  const dial = (from: Bound, to: Bound): Promise<TransportConnection> =>
    from.transport.dial(to.listener.address, { expectedPeer: to.peer, signal });

  it('come from it, and a second one to the same address from another', async (t) => {
    const [one, other] = [await listen(t), await listen(t)];
    const port = portOf(one.listener.address);
    const first = await dial(one, other);
    t.after(() => first.close());
    assert.equal(portOf(first.localAddress), port);
    assert.equal(portOf((await other.accepted.next()).remoteAddress), port);
    const second = await dial(one, other);
    t.after(() => second.close());
    assert.notEqual(portOf(second.localAddress), port);
    // Its listener takes connections all the while.
    const back = await dial(other, one);
    t.after(() => back.close());
    assert.equal(portOf((await one.accepted.next()).localAddress), port);
  });

  it('are not from that port to itself', async (t) => {
    const one = await listen(t);
    const connection = await dial(one, one);
    assert.notEqual(portOf(connection.localAddress), portOf(one.listener.address));
    await connection.close();
  });

  it('may take the listener’s role, of whom is expected', async (t) => {
    const hostKey = generateHostKey();
    const upgrade = createUpgrade({ hostKey, secureChannels: ['noise'], muxers: ['yamux'] });
    // What a simultaneous open looks like to the peer: its own dial, of which it is the dialer.
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const path = socketPath('tcp', socket);
      upgrade.asDialer(socketWire(socket, 'tcp'), path, undefined, signal).catch(() => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const address = multiaddrOf('tcp', { host: '127.0.0.1', port });
    const { transport } = await listen(t);
    const expectedPeer = peerIdOf(hostKey.publicKey);
    const connection = await transport.dial(address, {
      expectedPeer,
      signal,
      holePunch: 'listener',
    });
    assert.equal(connection.role, 'listener');
    assert.ok(connection.remotePeer.equals(expectedPeer));
    await connection.close();
    const other = peerIdOf(generateHostKey().publicKey);
    const { transport: another } = await listen(t);
    const wrong = another.dial(address, { expectedPeer: other, signal, holePunch: 'listener' });
    assert.ok(isLeanError(await rejection(wrong), 'ERR_PEER_ID_MISMATCH'));
  });

  it('turn round where the peer waits for the first word: its listener took the dial', async (t) => {
    const [one, other] = [await listen(t), await listen(t)];
    const options = { expectedPeer: other.peer, signal, holePunch: 'listener' } as const;
    const connection = await one.transport.dial(other.listener.address, options);
    t.after(() => connection.close());
    assert.equal(connection.role, 'dialer');
    assert.equal((await other.accepted.next()).role, 'listener');
    // There can be no second one between the same ports, and from another it would be of no use.
    const again = one.transport.dial(other.listener.address, options);
    assert.ok(isLeanError(await rejection(again), 'ERR_DIAL'));
  });

  it('a port that is taken is refused, though sockets may share it', async (t) => {
    const { listener } = await listen(t);
    assert.ok(isLeanError(await rejection(listen(t, listener.address)), 'ERR_LISTEN'));
  });
});
