/** js-libp2p 3 on our transport, once per QUIC engine of the running runtime: over real UDP sockets. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { generateKeyPair } from '@libp2p/crypto/keys';
import {
  type ComponentLogger,
  type Logger,
  type PrivateKey,
  type Stream,
  StreamCloseEvent,
} from '@libp2p/interface';
import { prometheusMetrics } from '@libp2p/prometheus-metrics';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { Registry } from 'prom-client';
import { quic } from '../../src/exports/js-libp2p.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { socketAddressOf } from '../../src/multiaddr.ts';
import { negotiate } from '../../src/multistream.ts';
import { createNode } from '../../src/node/node.ts';
import { selectEngine } from '../../src/quic/select.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import type { Stream as LeanStream } from '../../src/stream.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { quic as leanQuic } from '../../src/transports/factories.ts';
import { enginesHere } from '../support/engines.ts';
import {
  type JsNode,
  type JsPair,
  LOOPBACK,
  openStreams,
  readAll,
  startJsNode,
  startJsPair,
} from '../support/js-libp2p.ts';
import { inbox } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** What a libp2p node keeps to itself. */
interface Dialling {
  readonly transportManager: {
    dial(address: Multiaddr, options: { readonly signal: AbortSignal }): Promise<unknown>;
  };
}

const STRANGER = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';
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

/** Waits for so many round trips over the same connection. */
const echoes = async (pair: JsPair, count: number): Promise<void> => {
  const [near, far] = await openStreams(pair);
  far.addEventListener('message', ({ data }) => far.send(data));
  for (let i = 0; i < count; i++) {
    const echo = once(near, 'message');
    near.send(Uint8Array.of(1));
    await echo;
  }
};

const STALLING = fileURLToPath(new URL('../support/silent-handshakes.ts', import.meta.url));

const addressOf = (node: JsNode): SocketAddress => {
  const [address] = node.getMultiaddrs();
  assert(address !== undefined);
  return socketAddressOf(address);
};

/** A logger that keeps the formats of its lines. */
const createLogger = (lines: string[]): ComponentLogger => {
  const note = (line: unknown): void => void lines.push(String(line));
  const log: Logger = Object.assign(note, {
    error: note,
    trace: () => {},
    enabled: true,
    newScope: () => log,
  });
  return { forComponent: () => log };
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
  describe(`js-libp2p over our ${engine} engine`, SUITE, () => {
    it('has loaded the engine and made the certificate when a node that only dials has started', async (t) => {
      const lines: string[] = [];
      const node = await startJsNode(t, { engine, listen: [], logger: createLogger(lines) });
      assert.deepEqual(
        lines.filter((it) => it === '%s as %s: %s'),
        ['%s as %s: %s'],
      );
      assert.equal(lines.filter((it) => it.includes('cannot dial')).length, 0);
      const listener = await startJsNode(t, { engine });
      await node.dial(listener.getMultiaddrs());
      assert.equal(lines.filter((it) => it === '%s as %s: %s').length, 1);
    });

    it('starts when it cannot dial; the dial says why', async (t) => {
      // Of a file, which is no directory.
      const trace = { qlog: fileURLToPath(import.meta.url) };
      const lines: string[] = [];
      const node = await startJsNode(t, { engine, trace, listen: [], logger: createLogger(lines) });
      assert.deepEqual(
        lines.filter((it) => it.startsWith('cannot dial')),
        ['cannot dial - %e'],
      );
      const listener = await startJsNode(t, { engine });
      await assert.rejects(node.dial(listener.getMultiaddrs()), /trace \S+ cannot be written/);
    });

    it('dials, listens, and identifies both sides', async (t) => {
      const dialer = await startJsNode(t, { engine });
      const listener = await startJsNode(t, { engine });
      // js-libp2p's own for a new connection, of which there may be one at a time.
      const identified = once(dialer, 'peer:identify');
      const connection = await dialer.dial(listener.getMultiaddrs());
      assert.equal(`${connection.remotePeer}`, `${listener.peerId}`);
      assert.equal(connection.multiplexer, 'quic');
      assert.equal(connection.encryption, 'native');
      assert.match(
        `${connection.remoteAddr}`,
        /^\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1\/p2p\/12D3KooW/,
      );
      assert.ok((await dialer.services.ping.ping(listener.peerId)) >= 0);
      assert.ok((await listener.services.ping.ping(dialer.peerId)) >= 0);
      await identified;
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

    it('does not look a name up to the end when the signal fires', async (t) => {
      const dialer = await startJsNode(t, { engine });
      // libp2p's own queue of dials gives up by itself.
      const { transportManager } = (dialer as unknown as { components: Dialling }).components;
      const nobody = multiaddr('/dns4/does-not-exist.invalid/udp/9/quic-v1');
      const controller = new AbortController();
      const dial = transportManager.dial(nobody, { signal: controller.signal });
      controller.abort();
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

    it('reads ahead so much of all streams together, and loses nothing', async (t) => {
      const limits = { connectionMemory: 8 << 20 };
      const [dialer, listener] = [
        await startJsNode(t, { engine }),
        await startJsNode(t, { engine, limits }),
      ];
      const pair = { dialer, listener, connection: await dialer.dial(listener.getMultiaddrs()) };
      // node:quic allows fewer streams where memory is short: these do not reach the limit.
      const length = engine === 'node' ? 24 : 40;
      const streams = await Promise.all(Array.from({ length }, () => openStreams(pair)));
      const [half, whole] = [patternOf(60 << 10), patternOf(80 << 10)];
      for (const [near] of streams) near.send(half);
      // Round trips, so that it has all arrived.
      for (let i = 0; i < 5; i++) await openStreams(pair);
      const ahead = streams.map(([, far]) => far.readBufferLength);
      const sum = ahead.reduce((total, it) => total + it);
      assert.ok(sum > 0 && sum <= 2 << 20, `${sum}`);
      // What one has taken makes room for others.
      const readings = streams.map(([, far]) => readAll(far));
      for (const [near] of streams) {
        near.send(whole.subarray(half.length));
        await near.close();
      }
      for (const reading of readings) assert.equal(digest(await reading), digest(whole));
    });

    it('lets others in while one stalls its handshake', async (t) => {
      // None of them ends while the test runs.
      const limits = { handshakeTimeout: 240_000, idleTimeout: 240_000 };
      const listener = await startJsNode(t, { engine, limits });
      const { port } = addressOf(listener);
      const child = spawn(process.execPath, [STALLING, `${port}`, '127.0.0.2', '3'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      t.after(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      const dialer = await startJsNode(t, { engine });
      const connection = await dialer.dial(listener.getMultiaddrs());
      assert.equal(connection.status, 'open');
    });

    it('tells a sender whose peer does not read any more', async (t) => {
      const [near, far] = await openStreams(await startJsPair(t, { engine }));
      await far.closeRead();
      const sender = send(near, MORE_THAN_FITS);
      await assert.rejects(sender.done, { name: 'StreamStateError' });
      assert.equal(near.remoteReadStatus, 'closed');
      // The other direction goes on.
      far.send(Buffer.from('enough'));
      const [text] = await Promise.all([readAll(near), far.close()]);
      assert.equal(`${text}`, 'enough');
    });

    it('waits for a stream that the peer does not allow, until the signal fires', async (t) => {
      const listener = await startJsNode(t, { engine, limits: { maxStreams: 4 } });
      const dialer = await startJsNode(t, { engine });
      await listener.handle('/hold/1', () => {}, { maxInboundStreams: 100 });
      const connection = await dialer.dial(listener.getMultiaddrs());
      const controller = new AbortController();
      const options = { signal: controller.signal, maxOutboundStreams: 100 };
      const open = async (): Promise<never> => {
        for (;;) await connection.newStream('/hold/1', options);
      };
      const rejected = assert.rejects(open(), { name: 'AbortError' });
      const held = (): number =>
        connection.streams.filter((it) => it.protocol === '/hold/1').length;
      const roundTrips = setInterval(() => {
        if (held() === 4) controller.abort();
      }, 5);
      t.after(() => clearInterval(roundTrips));
      await rejected;
      assert.equal(held(), 4);
    });

    it('says of a stream that the connection ended before its peer had finished it', async (t) => {
      const peer = await createNode({ transports: [leanQuic({ engine })] });
      t.after(() => peer.close());
      peer.handle('/half/1', async (stream, connection) => {
        stream.write(Buffer.from('half of'));
        await stream.read();
        await connection.close();
      });
      const { address } = await peer.listen(LOOPBACK);
      const dialer = await startJsNode(t, { engine });
      const connection = await dialer.dial(multiaddr(`${address}`));
      const stream = await connection.newStream('/half/1');
      await once(stream, 'message');
      const closed = closeOf(stream);
      stream.send(Uint8Array.of(1));
      const { error } = await closed;
      assert.equal(error?.name, 'ConnectionClosedError');
      assert.equal(connection.streams.length, 0);
    });

    it('hands over what came before the connection ended, also to a paused reader', async (t) => {
      const pair = await startJsPair(t, { engine });
      const [near, far] = await openStreams(pair);
      // node:quic lets a stream that nobody reads have no more than 64 KiB.
      const bytes = engine === 'node' ? 48 << 10 : 1 << 20;
      near.pause();
      const chunks: Uint8Array[] = [];
      near.addEventListener('message', ({ data }) => chunks.push(data.subarray()));
      far.send(patternOf(bytes));
      await far.close();
      await echoes(pair, 20);
      assert.deepEqual(chunks, []);
      const closed = once(near, 'close');
      await pair.listener.getConnections(pair.dialer.peerId)[0]?.close();
      await closed;
      near.resume();
      assert.equal(digest(Buffer.concat(chunks)), digest(patternOf(bytes)));
    });

    it('says that the peer has finished to one who looks late', async (t) => {
      const pair = await startJsPair(t, { engine });
      for (const text of ['', 'early']) {
        const [near, far] = await openStreams(pair);
        if (text !== '') far.send(Buffer.from(text));
        await far.close();
        await echoes(pair, 20);
        assert.equal(`${await readAll(near)}`, text);
        await near.close();
      }
    });

    it('says that the peer has finished who sent all with the protocol', async (t) => {
      const peer = await createNode({ transports: [leanQuic({ engine })] });
      t.after(() => peer.close());
      peer.handle('/short/1', async (stream) => {
        stream.write(Buffer.from('answer'));
        stream.closeWrite();
      });
      const { address } = await peer.listen(LOOPBACK);
      const node = await startJsNode(t, { engine });
      const read = inbox<string>();
      await node.handle('/short/1', async (stream) => read.push(`${await readAll(stream)}`));
      const connection = await node.dial(multiaddr(`${address}`));
      assert.equal(`${await readAll(await connection.newStream('/short/1'))}`, 'answer');
      const back = await peer.dial(`${node.getMultiaddrs()[0]}`, { force: true });
      const stream = await back.newStream('/short/1');
      stream.write(Buffer.from('question'));
      stream.closeWrite();
      assert.equal(await read.next(), 'question');
    });

    it('ends a stream that the peer finished first and nobody reads, when it is closed', async (t) => {
      const pair = await startJsPair(t, { engine });
      const [near, far] = await openStreams(pair);
      await far.close();
      await echoes(pair, 20);
      const closed = closeOf(near);
      await near.close();
      assert.equal((await closed).error, undefined);
    });

    it('sends the first bytes with the proposal to a peer that agreed to it before', async (t) => {
      const { engine: quicEngine } = await selectEngine(engine, 'listener');
      const streams = inbox<LeanStream>();
      const listener = await quicEngine.listen({
        address: { host: '127.0.0.1', port: 0 },
        credentials: issueCertificate(generateHostKey()),
        authenticate: () => {},
        onConnection: (connection) => {
          const acceptAll = async (): Promise<void> => {
            for (;;) {
              const stream = await connection.acceptStream();
              if (stream === null) return;
              streams.push(stream);
            }
          };
          acceptAll().catch(() => {});
        },
      });
      t.after(() => listener.close());
      const dialer = await createLibp2p({ transports: [quic({ engine })] });
      t.after(() => dialer.stop());
      const { port } = listener.address;
      const connection = await dialer.dial(multiaddr(`/ip4/127.0.0.1/udp/${port}/quic-v1`));
      const [near, far] = await Promise.all([
        connection.newStream('/known/1'),
        streams.next().then(async (stream) => {
          await negotiate(stream, ['/known/1']);
          return stream;
        }),
      ]);
      const closed = once(near, 'close');
      far.closeWrite();
      await near.close();
      await closed;

      const again = await connection.newStream('/known/1');
      assert.equal(again.protocol, '/known/1');
      again.send(Buffer.from('payload'));
      const stream = await streams.next();
      const read: Uint8Array[] = [];
      // Nothing was answered.
      while (!`${Buffer.concat(read)}`.endsWith('payload')) {
        read.push((await stream.read()) ?? assert.fail('the stream ended'));
      }
      assert.match(`${Buffer.concat(read)}`, /multistream.*known\/1\n/s);
      again.abort(new Error('enough'));
    });

    it('tells of a peer that does not agree any more, and asks it the next time', async (t) => {
      for (const negotiation of ['lazy', 'eager'] as const) {
        const { listener, connection } = await startJsPair(t, { engine, negotiation });
        await listener.handle('/gone/1', (stream) => stream.close());
        const first = await connection.newStream('/gone/1');
        const over = once(first, 'close');
        await first.close();
        await over;
        await listener.unhandle('/gone/1');
        if (negotiation === 'lazy') {
          // Its answer may be here by now.
          const refused = await connection.newStream('/gone/1');
          if (refused.status === 'open') await once(refused, 'close');
          assert.equal(refused.status, 'aborted');
        }
        await assert.rejects(connection.newStream('/gone/1'), { name: 'UnsupportedProtocolError' });
      }
    });

    it("counts in js-libp2p's metrics: connections, errors, bytes", async (t) => {
      const registry = new Registry();
      const metrics = prometheusMetrics({ registry, collectDefaultMetrics: false });
      const listener = await startJsNode(t, { engine, libp2p: { metrics } });
      const dialer = await startJsNode(t, { engine });
      const connection = await dialer.dial(listener.getMultiaddrs());
      const [near, far] = await openStreams({ listener, connection });
      near.send(Buffer.alloc(100_000));
      await near.close();
      await readAll(far);
      const { host, port } = addressOf(listener);
      const there = addressOf(dialer);
      // Somebody else answers there.
      const wrong = multiaddr(`/ip4/${there.host}/udp/${there.port}/quic-v1/p2p/${STRANGER}`);
      await assert.rejects(listener.dial(wrong), { name: 'UnexpectedPeerError' });
      const text = await registry.metrics();
      assert.match(text, /^libp2p_quic_dialer_events_total\{.*"error".*\} 1$/m);
      assert.match(
        text,
        new RegExp(`^libp2p_quic_inbound_connections_total\\{.*"${host}:${port}".*\\} 1$`, 'm'),
      );
      assert.match(
        text,
        new RegExp(`^libp2p_quic_listener_events_total\\{.*"${host}:${port} connect".*\\} 1$`, 'm'),
      );
      const [, received] =
        /^libp2p_data_transfer_bytes_total\{.*"global received".*\} (\d+)$/m.exec(text) ?? [];
      assert.ok(Number(received) >= 100_000, text);
    });
  });
}
