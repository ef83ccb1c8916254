/**
 * The one suite that every QUIC engine, and every pair of engines, passes; over real UDP sockets.
 * A test fails by an assertion; the timeouts here only keep a hang from lasting.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isLeanError } from '../../src/errors.ts';
import {
  BAD_CERTIFICATE,
  type DialOptions,
  type ListenOptions,
  type QuicConnection,
  type QuicEngine,
  type QuicListener,
} from '../../src/quic/engine.ts';
import type { QuicLimits } from '../../src/quic/limits.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';
import { type ConnectionPair, streamContract } from '../stream/contract.ts';
import { longEnough } from '../support/long-enough.ts';
import { issueTestCredentials, type TestCredentials } from '../support/quic-credentials.ts';
import {
  deadAddress,
  echo,
  hashAll,
  hasIPv6,
  type Inbox,
  inbox,
  loopbackPair,
  readAll,
  rejection,
  silentSocket,
  staysPending,
} from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

export interface SuiteOptions {
  readonly dialer: () => Promise<QuicEngine>;
  readonly listener: () => Promise<QuicEngine>;
  /** Streams that a side can open before it writes to any; default: 256. */
  readonly streamsAtOnce?: { readonly dialer: number; readonly listener: number };
}

/** A connection of its own for each test. */
const connectedPair = async (t: TestContext, options: SuiteOptions): Promise<ConnectionPair> => {
  const [dialer, listener] = await Promise.all([options.dialer(), options.listener()]);
  const credentials = await issueTestCredentials('pair');
  return loopbackPair(t, { dialer, listener }, { credentials, authenticate: accept });
};

const HANG = { timeout: 30_000 };
/** Idle timeouts, for machines that are ever busier; milliseconds. */
const IDLE = [400, 2_000, 8_000] as const;
const accept = (): void => {};
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const peerScript = fileURLToPath(new URL('../support/quic-peer.ts', import.meta.url));

/** Runs the suite with `dialer` dialling `listener`; both in this process. */
export const engineSuite = (name: string, options: SuiteOptions): void => {
  const connectPair = (t: TestContext) => connectedPair(t, options);
  streamContract(name, { connect: connectPair, resetCodes: true, stopCodes: true });
  describe(name, SUITE, () => {
    let dialer: QuicEngine;
    let listener: QuicEngine;
    let ours: TestCredentials;
    let theirs: TestCredentials;

    before(async () => {
      [dialer, listener] = await Promise.all([options.dialer(), options.listener()]);
      [ours, theirs] = await Promise.all([
        issueTestCredentials('dialer'),
        issueTestCredentials('listener'),
      ]);
    });

    interface Bound {
      readonly listener: QuicListener;
      readonly accepted: Inbox<QuicConnection>;
      readonly refused: Inbox<Error>;
    }

    const bind = async (t: TestContext, extra: Partial<ListenOptions> = {}): Promise<Bound> => {
      const accepted = inbox<QuicConnection>();
      const refused = inbox<Error>();
      const bound = await listener.listen({
        address: { host: '127.0.0.1', port: 0 },
        credentials: theirs,
        authenticate: accept,
        onConnection: (connection) => accepted.push(connection),
        onRefused: (error) => refused.push(error),
        ...extra,
      });
      t.after(() => bound.close());
      return { listener: bound, accepted, refused };
    };

    const dial = async (
      t: TestContext,
      { listener: bound }: Bound,
      extra: Partial<DialOptions> = {},
    ): Promise<QuicConnection> => {
      const connection = await dialer.dial(bound.address, {
        credentials: ours,
        authenticate: accept,
        ...extra,
      });
      t.after(() => connection.close());
      return connection;
    };

    interface Pair extends Bound {
      readonly dialed: QuicConnection;
      readonly peer: QuicConnection;
    }

    const connect = async (
      t: TestContext,
      limits: { dial?: Partial<QuicLimits>; listen?: Partial<QuicLimits> } = {},
    ): Promise<Pair> => {
      const bound = await bind(t, limits.listen === undefined ? {} : { limits: limits.listen });
      const dialed = await dial(t, bound, limits.dial === undefined ? {} : { limits: limits.dial });
      return { ...bound, dialed, peer: await acceptedOf(bound, dialed) };
    };

    /** What the listener has accepted; fails when the dialer's end is over before. */
    const acceptedOf = ({ accepted }: Bound, dialed: QuicConnection): Promise<QuicConnection> =>
      Promise.race([
        accepted.next(),
        dialed.closed.then((reason) => assert.fail(`over before: ${JSON.stringify(reason)}`)),
      ]);

    /** A stream that `from` opened and `to` accepted; its first byte was written and read. */
    const openPair = async (
      from: QuicConnection,
      to: QuicConnection,
    ): Promise<[opened: Stream, accepted: Stream]> => {
      const opened = await from.openStream();
      opened.write(text('!'));
      const accepted = await nextStream(to);
      assert.deepEqual(Buffer.from((await accepted.read()) ?? []), Buffer.from('!'));
      return [opened, accepted];
    };

    const serveEcho = (connection: QuicConnection): void => {
      const serve = async (): Promise<void> => {
        for (;;) {
          const stream = await connection.acceptStream();
          if (stream === null) return;
          echo(stream).catch(() => {});
        }
      };
      serve().catch(() => {});
    };

    const echoes = async (connection: QuicConnection, message: string): Promise<void> => {
      const stream = await connection.openStream();
      stream.write(text(message));
      stream.closeWrite();
      assert.equal((await readAll(stream)).toString(), message);
    };

    /** That the listener still takes a connection and echoes. */
    const assertServes = async (t: TestContext, bound: Bound): Promise<void> => {
      const dialed = await dial(t, bound);
      serveEcho(await bound.accepted.next());
      await echoes(dialed, 'still here');
      await dialed.close();
    };

    const bothWays = (
      title: string,
      body: (t: TestContext, pair: Pair, from: QuicConnection, to: QuicConnection) => Promise<void>,
      limits?: Partial<QuicLimits>,
    ): void => {
      for (const side of ['dialer', 'listener'] as const) {
        test(`${title} (from the ${side})`, HANG, async (t) => {
          const both = limits === undefined ? {} : { dial: limits, listen: limits };
          const pair = await connect(t, both);
          const [from, to] =
            side === 'dialer' ? [pair.dialed, pair.peer] : [pair.peer, pair.dialed];
          await body(t, pair, from, to);
        });
      }
    };

    // ---------------------------------------------------------------- handshake

    test('handshake: each side sees the certificate of the other', HANG, async (t) => {
      const seenByListener: (readonly Uint8Array[])[] = [];
      const seenByDialer: (readonly Uint8Array[])[] = [];
      const bound = await bind(t, { authenticate: (chain) => void seenByListener.push(chain) });
      assert.equal(bound.listener.address.host, '127.0.0.1');
      assert.notEqual(bound.listener.address.port, 0);
      const dialed = await dial(t, bound, {
        authenticate: (chain) => void seenByDialer.push(chain),
      });
      const peer = await bound.accepted.next();
      assert.deepEqual(
        seenByDialer.map((chain) => chain.map(hex)),
        [[hex(theirs.certificateDer)]],
      );
      assert.deepEqual(
        seenByListener.map((chain) => chain.map(hex)),
        [[hex(ours.certificateDer)]],
      );
      assert.equal(hex(dialed.peerCertificate), hex(theirs.certificateDer));
      assert.equal(hex(peer.peerCertificate), hex(ours.certificateDer));
      assert.deepEqual(dialed.remoteAddress, bound.listener.address);
      assert.deepEqual(peer.localAddress, bound.listener.address);
      assert.deepEqual(peer.remoteAddress, dialed.localAddress);
      assert.equal(peer.remoteAddress.host, '127.0.0.1');
      assert.notEqual(peer.remoteAddress.port, 0);
    });

    test('IPv6', HANG, async (t) => {
      if (!(await hasIPv6())) return t.skip('this machine has no ::1');
      const bound = await bind(t, { address: { host: '::1', port: 0 } });
      assert.equal(bound.listener.address.host, '::1');
      const dialed = await dial(t, bound);
      const peer = await bound.accepted.next();
      assert.equal(dialed.remoteAddress.host, '::1');
      assert.equal(peer.remoteAddress.host, '::1');
      serveEcho(peer);
      await echoes(dialed, 'six');
    });

    test('a listener on 0.0.0.0 serves loopback', HANG, async (t) => {
      const bound = await bind(t, { address: { host: '0.0.0.0', port: 0 } });
      assert.equal(bound.listener.address.host, '0.0.0.0');
      const { port } = bound.listener.address;
      const dialed = await dialer.dial(
        { host: '127.0.0.1', port },
        { credentials: ours, authenticate: accept },
      );
      t.after(() => dialed.close());
      serveEcho(await bound.accepted.next());
      await echoes(dialed, 'any');
    });

    test('0.0.0.0 and :: can have the same port', HANG, async (t) => {
      if (!(await hasIPv6())) return t.skip('this machine has no ::1');
      const six = await bind(t, { address: { host: '::', port: 0 } });
      const { port } = six.listener.address;
      const four = await bind(t, { address: { host: '0.0.0.0', port } });
      const options = { credentials: ours, authenticate: accept };
      for (const [host, bound] of [
        ['::1', six],
        ['127.0.0.1', four],
      ] as const) {
        const dialed = await dialer.dial({ host, port }, options);
        t.after(() => dialed.close());
        assert.equal((await bound.accepted.next()).remoteAddress.host, host);
      }
    });

    test('a port in use cannot be bound again: ERR_LISTEN', HANG, async (t) => {
      const bound = await bind(t);
      const error = await rejection(bind(t, { address: bound.listener.address }));
      assert.ok(isLeanError(error, 'ERR_LISTEN'), String(error));
    });

    test('100 dials at once', HANG, async (t) => {
      const bound = await bind(t);
      const serving = (async () => {
        for (let i = 0; i < 100; i++) serveEcho(await bound.accepted.next());
      })();
      await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const dialed = await dial(t, bound, { limits: { handshakeTimeout: 20_000 } });
          await echoes(dialed, `dial ${i}`);
        }),
      );
      await serving;
    });

    // ---------------------------------------------------------------- streams

    bothWays('echo', async (_t, _pair, from, to) => {
      serveEcho(to);
      await echoes(from, 'hello');
      await echoes(from, 'again');
    });

    bothWays('many small writes in one turn arrive in order', async (_t, _pair, from, to) => {
      const stream = await from.openStream();
      const expected: string[] = [];
      for (let i = 0; i < 2_000; i++) {
        expected.push(`${i},`);
        stream.write(text(`${i},`));
      }
      stream.closeWrite();
      const got = await readAll(await nextStream(to));
      assert.equal(got.toString(), expected.join(''));
    });

    bothWays('16 MiB each way on one stream', async (_t, _pair, from, to) => {
      const there = randomBytes(16 << 20);
      const back = randomBytes(16 << 20);
      const opened = await from.openStream();
      const send = async (stream: Stream, data: Uint8Array): Promise<void> => {
        for (let at = 0; at < data.length; at += 65_536) {
          await writeAll(stream, data.subarray(at, at + 65_536));
        }
        stream.closeWrite();
      };
      const sent = send(opened, there);
      const accepted = await nextStream(to);
      const [gotThere, gotBack] = await Promise.all([
        hashAll(accepted),
        hashAll(opened),
        sent,
        send(accepted, back),
      ]);
      assert.equal(gotThere, sha256(there));
      assert.equal(gotBack, sha256(back));
    });

    bothWays(
      'a stream window as large as the connection window',
      async (_t, _pair, from, to) => {
        const data = randomBytes(4 << 20);
        const stream = await from.openStream();
        const sent = writeAll(stream, data).then(() => stream.closeWrite());
        const [got] = await Promise.all([nextStream(to).then(hashAll), sent]);
        assert.equal(got, sha256(data));
      },
      { streamWindow: 256 << 10, connectionWindow: 256 << 10 },
    );

    bothWays('one write of 4 MiB', async (_t, _pair, from, to) => {
      const data = randomBytes(4 << 20);
      const stream = await from.openStream();
      assert.equal(stream.write(data), false, 'takes it, and asks to wait');
      stream.closeWrite();
      assert.equal(await hashAll(await nextStream(to)), sha256(data));
    });

    bothWays('a stream that is closed without a byte', async (_t, _pair, from, to) => {
      const opened = await from.openStream();
      opened.closeWrite();
      const accepted = await nextStream(to);
      assert.equal(await accepted.read(), null);
      accepted.closeWrite();
      assert.equal(await opened.read(), null);
    });

    bothWays('stopSending ends a drain that waits', async (_t, _pair, from, to) => {
      const [opened, accepted] = await openPair(from, to);
      await fill(opened);
      const draining = writingEnds(opened);
      accepted.stopSending(11);
      assertReset(await draining, 'ERR_STREAM_STOPPED', 11);
    });

    bothWays(
      'a reader that does not read bounds the writer',
      async (_t, _pair, from, to) => {
        const [opened, accepted] = await openPair(from, to);
        const taken = await fill(opened);
        // The window that the reader grants, and what the writer's engine may queue.
        assert.ok(taken <= (256 << 10) + (2 << 20), `${taken} bytes were taken`);
        // Another stream of the connection is not held up.
        const [other, otherEnd] = await openPair(from, to);
        other.write(text('passes'));
        other.closeWrite();
        assert.equal((await readAll(otherEnd)).toString(), 'passes');
        const draining = opened.drain();
        const counting = (async () => {
          let total = 0;
          for (;;) {
            const chunk = await accepted.read();
            if (chunk === null) return total;
            total += chunk.length;
          }
        })();
        await draining;
        opened.closeWrite();
        assert.equal(await counting, taken);
      },
      { streamWindow: 256 << 10, connectionWindow: 1 << 20 },
    );

    bothWays(
      'many streams at once',
      async (_t, pair, from, to) => {
        const most = options.streamsAtOnce?.[from === pair.dialed ? 'dialer' : 'listener'] ?? 256;
        serveEcho(to);
        const streams = await Promise.all(Array.from({ length: most }, () => from.openStream()));
        assert.equal(new Set(streams.map((stream) => stream.id)).size, most, 'ids are unique');
        await Promise.all(
          streams.map(async (stream, i) => {
            const message = `${i}:`.repeat(500);
            stream.write(text(message));
            stream.closeWrite();
            assert.equal((await readAll(stream)).toString(), message);
          }),
        );
        // node:quic holds 64 KiB for each stream, of which a quarter of the memory is for.
      },
      { connectionMemory: 64 << 20 },
    );

    bothWays('streams opened in turn are accepted in turn', async (_t, _pair, from, to) => {
      for (let i = 0; i < 20; i++) {
        const stream = await from.openStream();
        stream.write(text(`${i}`));
        const accepted = await nextStream(to);
        assert.equal(Buffer.from((await accepted.read()) ?? []).toString(), `${i}`);
      }
    });

    bothWays('streams opened at once are all accepted', async (_t, _pair, from, to) => {
      // In any order: QUIC keeps none between streams.
      const expected = new Set<string>();
      for (let i = 0; i < 40; i++) {
        const stream = await from.openStream();
        stream.write(text(`${i}`));
        stream.closeWrite();
        expected.add(`${i}`);
      }
      const got = new Set<string>();
      for (let i = 0; i < 40; i++) got.add((await readAll(await nextStream(to))).toString());
      assert.deepEqual([...got].sort(), [...expected].sort());
    });

    bothWays(
      'openStream waits at the peer’s stream limit, then goes on',
      async (_t, _pair, from, to) => {
        const pairs: [Stream, Stream][] = [];
        for (let i = 0; i < 4; i++) pairs.push(await openPair(from, to));
        const abort = new AbortController();
        const aborted = rejection(from.openStream(abort.signal));
        const fifth = from.openStream();
        fifth.catch(() => {});
        assert.ok(await staysPending(fifth), 'the fifth stream waits');
        abort.abort();
        assertCode(await aborted, 'ERR_ABORTED');
        const [opened, accepted] = pairs[1] as [Stream, Stream];
        opened.closeWrite();
        accepted.closeWrite();
        await Promise.all([readAll(accepted), readAll(opened)]);
        const stream = await fifth;
        stream.write(text('fifth'));
        stream.closeWrite();
        assert.equal((await readAll(await nextStream(to))).toString(), 'fifth');
      },
      { maxStreams: 4 },
    );

    bothWays(
      'a stream that waits for the limit ends with the connection',
      async (_t, _pair, from, to) => {
        for (let i = 0; i < 2; i++) (await from.openStream()).write(text('x'));
        const waiting = rejection(from.openStream());
        assert.ok(await staysPending(waiting), 'the third stream waits');
        await to.close();
        assertCode(await waiting, 'ERR_CONNECTION_CLOSED');
      },
      { maxStreams: 2 },
    );

    bothWays(
      '500 streams one after another under a limit of 8',
      async (_t, _pair, from, to) => {
        serveEcho(to);
        for (let i = 0; i < 500; i++) await echoes(from, `stream ${i}`);
      },
      { maxStreams: 8 },
    );

    // ---------------------------------------------------------------- the end of a connection

    bothWays('close code and reason reach the other side', async (_t, _pair, from, to) => {
      await from.close(7, 'going away');
      assert.deepEqual(await from.closed, {
        by: 'local',
        code: 7,
        application: true,
        reason: 'going away',
      });
      assert.deepEqual(await to.closed, {
        by: 'remote',
        code: 7,
        application: true,
        reason: 'going away',
      });
      await from.close(8, 'twice');
      await to.close(9);
      assert.equal((await from.closed).code, 7);
    });

    bothWays('close() says code 0', async (_t, _pair, from, to) => {
      await from.close();
      assert.deepEqual(await to.closed, { by: 'remote', code: 0, application: true, reason: '' });
    });

    test('close() right after dial() reaches the listener', HANG, async (t) => {
      const bound = await bind(t);
      const dialed = await dial(t, bound);
      await dialed.close(3, 'changed my mind');
      const peer = await bound.accepted.next();
      assert.deepEqual(await peer.closed, {
        by: 'remote',
        code: 3,
        application: true,
        reason: 'changed my mind',
      });
      assert.equal(await peer.acceptStream(), null);
    });

    bothWays('close() ends open streams on both sides', async (_t, _pair, from, to) => {
      const [opened, accepted] = await openPair(from, to);
      const [full] = await openPair(from, to);
      await fill(full);
      const pending = [...[opened.read(), accepted.read()].map(rejection), writingEnds(full)];
      const acceptors = [from.acceptStream(), to.acceptStream()];
      await from.close();
      for (const error of await Promise.all(pending)) assertCode(error, 'ERR_CONNECTION_CLOSED');
      assert.deepEqual(await Promise.all(acceptors), [null, null]);
      for (const stream of [opened, accepted]) {
        assertCode(
          thrown(() => stream.write(text('x'))),
          'ERR_CONNECTION_CLOSED',
        );
        assertCode(await rejection(stream.drain()), 'ERR_CONNECTION_CLOSED');
        assertCode(await rejection(stream.read()), 'ERR_CONNECTION_CLOSED');
        stream.closeWrite();
        stream.stopSending();
        stream.reset();
      }
      for (const connection of [from, to]) {
        assertCode(await rejection(connection.openStream()), 'ERR_CONNECTION_CLOSED');
        assert.equal(await connection.acceptStream(), null);
      }
    });

    for (const side of ['dialer', 'listener'] as const) {
      test(`silence ends a connection by its idle timeout (from the ${side})`, HANG, async (t) => {
        // Not before it is silent, where the machine is busy.
        const { dialed, peer, opened } = await longEnough(IDLE, async (idleTimeout) => {
          const limits = { idleTimeout };
          const pair = await connect(t, { dial: limits, listen: limits });
          const ends = [pair.dialed, pair.peer] as const;
          const [from, to] = side === 'dialer' ? ends : ends.toReversed();
          const [stream] = await openPair(from as QuicConnection, to as QuicConnection);
          return { ...pair, opened: stream };
        });
        const reading = rejection(opened.read());
        const ends = await Promise.all([dialed.closed, peer.closed]);
        // The side that notices later may still send, and be told by a stateless reset.
        assert.ok(ends.some(({ by }) => by === 'timeout'));
        assert.ok(ends.every(({ by }) => by !== 'local'));
        assertCode(await reading, 'ERR_CONNECTION_CLOSED');
      });
    }

    test('a listener that is killed: the dialer’s idle timeout ends it', HANG, async (t) => {
      const child = spawnPeer(t, listener.name, ['listen']);
      const port = Number(await child.line());
      const { dialed, stream } = await longEnough(IDLE, async (idleTimeout) => {
        const connection = await dialer.dial(
          { host: '127.0.0.1', port },
          { credentials: ours, authenticate: accept, limits: { idleTimeout } },
        );
        t.after(() => connection.close());
        const opened = await connection.openStream();
        opened.write(text('ping'));
        assert.equal(Buffer.from((await opened.read()) ?? []).toString(), 'ping');
        return { dialed: connection, stream: opened };
      });
      const reading = rejection(stream.read());
      child.kill();
      assert.equal((await dialed.closed).by, 'timeout');
      assertCode(await reading, 'ERR_CONNECTION_CLOSED');
    });

    test('a dialer that is killed: the listener’s idle timeout ends it', HANG, async (t) => {
      const { bound, child, peer, stream } = await longEnough(IDLE, async (idleTimeout) => {
        const tried = await bind(t, { limits: { idleTimeout } });
        const { host, port } = tried.listener.address;
        const process = spawnPeer(t, dialer.name, ['dial', host, `${port}`]);
        const connection = await Promise.race([tried.accepted.next(), process.ended]);
        const opened = await nextStream(connection);
        assert.equal(Buffer.from((await opened.read()) ?? []).toString(), 'hello');
        return { bound: tried, child: process, peer: connection, stream: opened };
      });
      const reading = rejection(stream.read());
      child.kill();
      assert.equal((await peer.closed).by, 'timeout');
      assertCode(await reading, 'ERR_CONNECTION_CLOSED');
      // Its idle timeout may pass where the machine is busy.
      await longEnough([1, 2, 3], () => assertServes(t, bound));
    });

    test('listener.close() closes its connections and refuses new ones', HANG, async (t) => {
      const bound = await bind(t);
      const dialed = await Promise.all([dial(t, bound), dial(t, bound)]);
      const peers = [await bound.accepted.next(), await bound.accepted.next()];
      await bound.listener.close();
      for (const connection of dialed) {
        const close = await connection.closed;
        assert.equal(close.by, 'remote');
        assert.equal(close.code, 0);
      }
      for (const peer of peers) assert.equal((await peer.closed).by, 'local');
      const error = await rejection(dial(t, bound, { limits: { handshakeTimeout: 300 } }));
      assert.ok(isLeanError(error, 'ERR_DIAL') || isLeanError(error, 'ERR_TIMEOUT'), `${error}`);
      await bound.listener.close();
      // The port is free again.
      const again = await bind(t, { address: bound.listener.address });
      assert.deepEqual(again.listener.address, bound.listener.address);
    });

    // ---------------------------------------------------------------- dials that fail

    test('a dead port fails within handshakeTimeout', HANG, async () => {
      const error = await rejection(
        dialer.dial(await deadAddress(), {
          credentials: ours,
          authenticate: accept,
          limits: { handshakeTimeout: 300 },
        }),
      );
      assert.ok(isLeanError(error, 'ERR_DIAL') || isLeanError(error, 'ERR_TIMEOUT'), `${error}`);
    });

    test('a silent port: ERR_TIMEOUT', HANG, async (t) => {
      const silent = await silentSocket();
      t.after(silent.close);
      const error = await rejection(
        dialer.dial(silent.address, {
          credentials: ours,
          authenticate: accept,
          limits: { handshakeTimeout: 300 },
        }),
      );
      assertCode(error, 'ERR_TIMEOUT');
    });

    test('an abort signal ends a dial: ERR_ABORTED', HANG, async (t) => {
      const silent = await silentSocket();
      t.after(silent.close);
      const options = { credentials: ours, authenticate: accept };
      const before = rejection(
        dialer.dial(silent.address, { ...options, signal: AbortSignal.abort() }),
      );
      assertCode(await before, 'ERR_ABORTED');
      const abort = new AbortController();
      const during = rejection(dialer.dial(silent.address, { ...options, signal: abort.signal }));
      assert.ok(await staysPending(during, 50));
      abort.abort();
      assertCode(await during, 'ERR_ABORTED');
      // While it still opens its socket, in whichever turn that is.
      for (const turns of [0, 1, 2, 3]) {
        const soon = new AbortController();
        const early = rejection(dialer.dial(silent.address, { ...options, signal: soon.signal }));
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        soon.abort();
        assertCode(await early, 'ERR_ABORTED');
      }
    });

    test('a signal aborted after the dial leaves the connection alone', HANG, async (t) => {
      const bound = await bind(t);
      const abort = new AbortController();
      const dialed = await dial(t, bound, { signal: abort.signal });
      serveEcho(await bound.accepted.next());
      abort.abort();
      await echoes(dialed, 'alive');
    });

    // ---------------------------------------------------------------- refusals

    test(
      'authenticate throws at the dialer: dial rejects, the listener learns why',
      HANG,
      async (t) => {
        const bound = await bind(t);
        const why = new Error('not who I dialled');
        const error = await rejection(
          dial(t, bound, {
            authenticate: () => {
              throw why;
            },
          }),
        );
        assert.equal(error, why);
        // The refusal may overtake the handshake's end at the listener, or not.
        const outcome = await Promise.race([bound.accepted.next(), bound.refused.next()]);
        if (outcome instanceof Error) {
          assert.match(outcome.message, /not who I dialled/);
        } else {
          assert.deepEqual(await outcome.closed, {
            by: 'remote',
            code: BAD_CERTIFICATE,
            application: false,
            reason: 'not who I dialled',
          });
        }
      },
    );

    test(
      'authenticate throws at the listener: nothing is handed up, the dialer learns why',
      HANG,
      async (t) => {
        const why = new Error('no entry for you');
        let refuse = true;
        const bound = await bind(t, {
          authenticate: () => {
            if (refuse) throw why;
          },
        });
        const dialing = dial(t, bound);
        let dialed: QuicConnection | undefined;
        try {
          dialed = await dialing;
        } catch (error) {
          assertCode(error, 'ERR_HANDSHAKE');
          assert.match(String(error), /no entry for you/);
        }
        if (dialed !== undefined) {
          // The dialer believes the handshake over, and sends at once.
          dialed
            .openStream()
            .then((stream) => stream.write(text('early')))
            .catch(() => {});
          assert.deepEqual(await dialed.closed, {
            by: 'remote',
            code: BAD_CERTIFICATE,
            application: false,
            reason: 'no entry for you',
          });
        }
        assert.equal(await bound.refused.next(), why);
        assert.equal(bound.accepted.size, 0);
        refuse = false;
        await assertServes(t, bound);
      },
    );

    test(
      'stream bytes that come with the handshake are handed up after authenticate',
      HANG,
      async (t) => {
        const order: string[] = [];
        const accepted = inbox<QuicConnection>();
        const bound = await bind(t, {
          authenticate: () => void order.push('authenticate'),
          onConnection: (connection) => {
            order.push('connection');
            accepted.push(connection);
          },
        });
        const dialed = await dial(t, bound);
        const stream = await dialed.openStream();
        stream.write(text('early'));
        const first = await nextStream(await accepted.next());
        assert.equal(Buffer.from((await first.read()) ?? []).toString(), 'early');
        assert.deepEqual(order, ['authenticate', 'connection']);
      },
    );

    test('garbage to the listener’s socket', HANG, async (t) => {
      const bound = await bind(t);
      const dialed = await dial(t, bound);
      serveEcho(await bound.accepted.next());
      const { host, port } = bound.listener.address;
      const socket = createSocket('udp4');
      t.after(() => socket.close());
      const send = (data: Uint8Array): Promise<void> =>
        new Promise((resolve) => socket.send(data, port, host, () => resolve()));
      await send(new Uint8Array(0));
      for (let i = 0; i < 200; i++) {
        const data = randomBytes(1 + ((i * 37) % 1400));
        await send(data);
        // Long header, fixed bit, version 1; then a header that promises more than there is.
        const initial = randomBytes(1200);
        initial.set([0xc0 | (i & 0x3f), 0, 0, 0, 1, i % 30, ...data.subarray(0, 20)]);
        await send(initial);
        await send(initial.subarray(0, 1 + (i % 40)));
        // A version nobody speaks.
        initial.set([0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8], 0);
        await send(initial);
      }
      await echoes(dialed, 'undisturbed');
      await assertServes(t, bound);
    });
  });
};

// ------------------------------------------------------------------ helpers

const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');

const nextStream = async (connection: QuicConnection): Promise<Stream> => {
  const stream = await connection.acceptStream();
  assert.ok(stream !== null, 'the connection is open');
  return stream;
};

const thrown = (call: () => unknown): unknown => {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error('should have thrown');
};

const assertCode = (error: unknown, code: Parameters<typeof isLeanError>[1]): void => {
  assert.ok(isLeanError(error, code), `expected ${code}, got ${describeError(error)}`);
};

const assertReset = (
  error: unknown,
  code: 'ERR_STREAM_RESET' | 'ERR_STREAM_STOPPED',
  resetCode: number,
): void => {
  assertCode(error, code);
  assert.ok(error instanceof StreamResetError);
  assert.equal(error.resetCode, resetCode);
};

const describeError = (error: unknown): string =>
  error instanceof Error ? `${'code' in error ? error.code : ''} ${error.stack}` : String(error);

/** Writes until there is no room and `drain()` waits; how many bytes were taken. */
const fill = async (stream: Stream): Promise<number> => {
  const chunk = new Uint8Array(16 << 10);
  let taken = 0;
  for (;;) {
    const room = stream.write(chunk);
    taken += chunk.length;
    assert.ok(taken < 256 << 20, 'the writer is never held back');
    if (room) continue;
    const draining = stream.drain();
    draining.catch(() => {});
    if (await staysPending(draining, 250)) return taken;
  }
};

/** What a writer is told in the end that waits for room, and waits again when it got some. */
const writingEnds = (stream: Stream): Promise<unknown> => {
  const write = async (): Promise<void> => {
    for (;;) {
      await stream.drain();
      while (stream.write(new Uint8Array(16 << 10)));
    }
  };
  return rejection(write());
};

interface PeerProcess {
  /** Rejects when it ends. */
  readonly ended: Promise<never>;
  line(): Promise<string>;
  kill(): void;
}

const spawnPeer = (t: TestContext, engine: string, args: readonly string[]): PeerProcess => {
  const flags = engine === 'node' ? ['--experimental-quic'] : [];
  const child = spawn(process.execPath, [...flags, '--no-warnings', peerScript, engine, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit').then(([code]) => assert.fail(`the peer ended: ${code}`));
  ended.catch(() => {});
  const lines = inbox<string>();
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    for (const line of data.split('\n')) if (line !== '') lines.push(line);
  });
  return {
    ended,
    line: () => Promise.race([lines.next(), ended]),
    kill: () => void child.kill('SIGKILL'),
  };
};
