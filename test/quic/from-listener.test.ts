/** Dials that leave from a listener's socket, as hole punching needs them, once per engine. */

import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { describe, it, type TestContext } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import type { QuicConnection, QuicEngine } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { enginesHere } from '../support/engines.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { echo, inbox, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const authenticate = (): void => {};
const credentials = await issueTestCredentials('from-listener');

const listen = async (t: TestContext, engine: QuicEngine) => {
  const accepted = inbox<QuicConnection>();
  const listener = await engine.listen({
    address: { host: '127.0.0.1', port: 0 },
    credentials,
    authenticate,
    onConnection: accepted.push,
  });
  t.after(() => listener.close());
  return { listener, address: listener.address, accepted };
};

const echoes = async (
  one: QuicConnection,
  other: QuicConnection,
  message: Buffer,
): Promise<void> => {
  const stream = await one.openStream();
  stream.write(message);
  stream.closeWrite();
  const there = await other.acceptStream();
  assert.ok(there !== null);
  await echo(there);
  assert.deepEqual(await readAll(stream), message);
};

for (const name of await enginesHere(['dialer', 'listener'])) {
  const { engine } = await selectEngine(name, 'listener');

  describe(`${name}: dials from a listener's socket`, SUITE, () => {
    if (!engine.dialsFromListener) {
      it('are declared not to be, and refused', async (t) => {
        const [one, other] = [await listen(t, engine), await listen(t, engine)];
        const from = one.listener;
        assert.equal(from.sendDatagram, undefined);
        const dial = engine.dial(other.address, { credentials, authenticate, from });
        assert.ok(isLeanError(await rejection(dial), 'ERR_UNSUPPORTED'));
      });
      return;
    }

    it('come from its port, both ways at once, and end with it', async (t) => {
      const [one, other] = [await listen(t, engine), await listen(t, engine)];
      const dial = async (address: typeof one.address, from: typeof one.listener) =>
        engine.dial(address, { credentials, authenticate, from });
      const [there, back] = await Promise.all([
        dial(other.address, one.listener),
        dial(one.address, other.listener),
      ]);
      const [byOther, byOne] = [await other.accepted.next(), await one.accepted.next()];
      assert.equal(byOther.remoteAddress.port, one.address.port);
      assert.equal(byOne.remoteAddress.port, other.address.port);
      assert.equal(there.localAddress.port, one.address.port);
      // More than one packet, and more than one connection on a socket.
      await Promise.all([
        echoes(there, byOther, Buffer.alloc(200_000, 1)),
        echoes(byOther, there, Buffer.alloc(200_000, 2)),
        echoes(back, byOne, Buffer.alloc(200_000, 3)),
      ]);
      await one.listener.close();
      await Promise.all([there.closed, byOther.closed, back.closed, byOne.closed]);
      assert.ok(isLeanError(await rejection(dial(other.address, one.listener)), 'ERR_DIAL'));
    });

    it('are given up when told to, and when nobody answers', async (t) => {
      const { listener, address, accepted } = await listen(t, engine);
      const silent = createSocket('udp4');
      t.after(() => silent.close());
      await new Promise<void>((resolve) => silent.bind(0, '127.0.0.1', resolve));
      const remote = { host: '127.0.0.1', port: silent.address().port };
      const abort = new AbortController();
      silent.once('message', () => abort.abort());
      const options = { credentials, authenticate, from: listener };
      const given = engine.dial(remote, { ...options, signal: abort.signal });
      assert.ok(isLeanError(await rejection(given), 'ERR_ABORTED'));
      const limits = { handshakeTimeout: 300 };
      const unanswered = engine.dial(remote, { ...options, limits });
      assert.ok(isLeanError(await rejection(unanswered), 'ERR_TIMEOUT'));
      // The listener is none the worse for it.
      await engine.dial(address, { credentials, authenticate });
      await accepted.next();
    });

    it('can be prepared by datagrams from that port, at once', async (t) => {
      const socket = createSocket('udp4');
      t.after(() => socket.close());
      await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
      const remote = { host: '127.0.0.1', port: socket.address().port };
      const data = Buffer.from('not a QUIC packet');
      const came = inbox<[Buffer, RemoteInfo]>();
      socket.on('message', (...packet) => came.push(packet));
      // Many times: a socket that waits for its event loop before it sends loses some.
      for (let i = 0; i < 50; i++) {
        const { listener, address } = await listen(t, engine);
        listener.sendDatagram?.(remote, data);
        const [packet, from] = await came.next();
        assert.deepEqual(packet, data);
        assert.equal(from.port, address.port);
        await listener.close();
        listener.sendDatagram?.(remote, data);
      }
    });

    it('take no listener of another engine', async (t) => {
      const { listener, address } = await listen(t, engine);
      const stranger = { address, close: () => listener.close() };
      const dial = engine.dial(address, { credentials, authenticate, from: stranger });
      assert.match(String(await rejection(dial)), /listener is not this engine's/);
    });
  });
}
