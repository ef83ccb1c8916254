/** js-libp2p 3 on our transport, once per QUIC engine of the running runtime: over real UDP sockets. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { generateKeyPair } from '@libp2p/crypto/keys';
import { type PrivateKey, type Stream, StreamCloseEvent } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { enginesHere } from '../support/engines.ts';
import {
  type JsPair,
  openStreams,
  readAll,
  startJsNode,
  startJsPair,
} from '../support/js-libp2p.ts';

const HANG = { timeout: 120_000 };
/**
 * More than a stream's window, what its sender keeps, and the 4 MiB that js-libp2p keeps of a paused stream
 * before it resets it.
 */
const MORE_THAN_FITS = 40 << 20;
const CHUNK = 64 << 10;

/** Bytes that differ from place to place. */
const patternOf = (bytes: number): Buffer => {
  const all = Buffer.allocUnsafe(bytes);
  for (let at = 0; at < bytes; at += 4) all.writeUInt32LE(at, at);
  return all;
};

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Sends so many bytes, as fast as there is room, and finishes. */
const send = (stream: Stream, bytes: number): { readonly done: Promise<void>; sent: number } => {
  const all = patternOf(bytes);
  const run = async (): Promise<void> => {
    while (sender.sent < bytes) {
      const hasRoom = stream.send(all.subarray(sender.sent, sender.sent + CHUNK));
      sender.sent += CHUNK;
      if (!hasRoom) await stream.onDrain();
    }
    await stream.close();
  };
  const sender = { sent: 0, done: Promise.resolve() };
  sender.done = run();
  sender.done.catch(() => {});
  return sender;
};

/** Resolves when nothing more was sent for a while: twenty round trips over the same connection. */
const stopped = async (pair: JsPair, sender: { sent: number }): Promise<void> => {
  const [near, far] = await openStreams(pair);
  far.addEventListener('message', ({ data }) => far.send(data));
  let before = -1;
  for (let same = 0; same < 20; same++) {
    const echo = once(near, 'message');
    near.send(Uint8Array.of(1));
    await echo;
    if (sender.sent !== before) same = 0;
    before = sender.sent;
  }
};

/** The `close` event of a stream or connection. */
const closeOf = async (target: EventTarget): Promise<StreamCloseEvent> => {
  const [event] = await once(target, 'close');
  assert(event instanceof StreamCloseEvent);
  return event;
};

for (const engine of await enginesHere(['dialer', 'listener'])) {
  describe(`js-libp2p over our ${engine} engine`, HANG, () => {
    it('dials, listens, and identifies both sides', async (t) => {
      const { dialer, listener, connection } = await startJsPair(t, { engine });
      assert.equal(`${connection.remotePeer}`, `${listener.peerId}`);
      assert.equal(connection.multiplexer, 'quic');
      assert.equal(connection.encryption, 'native');
      assert.match(
        `${connection.remoteAddr}`,
        /^\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1\/p2p\/12D3KooW/,
      );
      assert.ok((await dialer.services.ping.ping(listener.peerId)) >= 0);
      assert.ok((await listener.services.ping.ping(dialer.peerId)) >= 0);
      const seen = await dialer.services.identify.identify(connection);
      assert.equal(`${seen.peerId}`, `${listener.peerId}`);
    });

    for (const type of ['Ed25519', 'secp256k1', 'RSA'] as const) {
      it(`shows a certificate of a host key of type ${type}`, async (t) => {
        const key = (): Promise<PrivateKey> =>
          type === 'RSA' ? generateKeyPair(type, 2048) : generateKeyPair(type);
        const dialer = await startJsNode(t, { engine, privateKey: await key() });
        const listener = await startJsNode(t, { engine, privateKey: await key() });
        const { promise, resolve } = Promise.withResolvers<string>();
        listener.addEventListener('peer:connect', ({ detail }) => resolve(`${detail}`));
        const connection = await dialer.dial(listener.getMultiaddrs());
        assert.equal(await promise, `${dialer.peerId}`);
        assert.ok(connection.remotePeer.equals(listener.peerId));
        assert.deepEqual(connection.remotePeer.publicKey?.raw, listener.peerId.publicKey?.raw);
      });
    }

    it('refuses a peer that is not the one dialled', async (t) => {
      const dialer = await startJsNode(t, { engine });
      const listener = await startJsNode(t, { engine });
      const [address] = listener.getMultiaddrs();
      const other = `${address}`.replace(/p2p\/.*$/, `p2p/${(await startJsNode(t)).peerId}`);
      await assert.rejects(dialer.dial(multiaddr(other)), { name: 'UnexpectedPeerError' });
      assert.deepEqual(dialer.getConnections(), []);
    });

    it('ends a dial that nobody answers when its signal fires, by its name', async (t) => {
      const dialer = await startJsNode(t, { engine });
      const silent = multiaddr('/ip4/127.0.0.1/udp/9/quic-v1');
      const controller = new AbortController();
      const dial = dialer.dial(silent, { signal: controller.signal });
      setImmediate(() => controller.abort());
      await assert.rejects(dial, { name: 'AbortError' });
    });

    it('half-closes: what the other side sends afterwards still comes', async (t) => {
      const [near, far] = await openStreams(await startJsPair(t, { engine }));
      near.send(Buffer.from('question'));
      await near.close();
      assert.equal(`${await readAll(far)}`, 'question');
      far.send(Buffer.from('answer'));
      const closed = closeOf(near);
      const [text] = await Promise.all([readAll(near), far.close()]);
      assert.equal(`${text}`, 'answer');
      assert.equal((await closed).error, undefined);
      assert.equal(near.status, 'closed');
    });

    it('takes a reset code to the other side', async (t) => {
      const [near, far] = await openStreams(await startJsPair(t, { engine }));
      const closed = closeOf(far);
      near.abort(Object.assign(new Error('no more'), { resetCode: 0x1234 }));
      const { error, local } = await closed;
      assert.equal(error?.name, 'StreamResetError');
      assert.equal(local, false);
      assert.equal((error as Error & { resetCode?: number }).resetCode, 0x1234);
      assert.equal(far.status, 'reset');
    });

    it('holds up a sender whose reader is paused, and loses nothing', async (t) => {
      const pair = await startJsPair(t, { engine });
      const [near, far] = await openStreams(pair);
      far.pause();
      const reading = readAll(far);
      const sender = send(near, MORE_THAN_FITS);
      await stopped(pair, sender);
      assert.ok(sender.sent < MORE_THAN_FITS, 'the sender was not held up');
      assert.equal(far.status, 'open');
      assert.ok(far.readBufferLength <= 64 << 10);
      far.resume();
      await sender.done;
      assert.equal(digest(await reading), digest(patternOf(MORE_THAN_FITS)));
    });

    it('holds up a sender that nobody listens to, and loses nothing', async (t) => {
      const pair = await startJsPair(t, { engine });
      const [near, far] = await openStreams(pair);
      const sender = send(near, MORE_THAN_FITS);
      await stopped(pair, sender);
      assert.ok(sender.sent < MORE_THAN_FITS, 'the sender was not held up');
      assert.equal(far.status, 'open');
      const reading = readAll(far);
      await sender.done;
      assert.equal(digest(await reading), digest(patternOf(MORE_THAN_FITS)));
    });
  });
}
