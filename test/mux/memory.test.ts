/** What one connection makes a muxer hold, over real TCP sockets. The other end knows no limits. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CONN_RESOURCE_LIMIT_EXCEEDED } from '../../src/connection-memory.ts';
import { isLeanError } from '../../src/errors.ts';
import type { MuxLimits } from '../../src/mux/mux-limits.ts';
import type { Muxer, MuxerName } from '../../src/mux/muxer.ts';
import { encodeVarint, readExactly } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { muxerAndSocket, muxerOver, wirePair } from '../support/mux-pair.ts';
import { rejection } from '../support/quic-helpers.ts';

const HANG = { timeout: 30_000 };
const MIB = 1 << 20;
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;
const CHUNK = 16 << 10;
/** Read at a time off the wire. */
const WIRE_CHUNK = 64 << 10;
const LAVISH: Partial<MuxLimits> = {
  connectionMemory: 2 ** 40,
  stallTimeout: 2 ** 30,
  slowReaderTimeout: 2 ** 30,
  streamBuffer: 2 ** 30,
};

const connect = async (
  t: TestContext,
  name: MuxerName,
  limits: Partial<MuxLimits>,
  theirs: Partial<MuxLimits> = {},
): Promise<{ peer: Muxer; ours: Muxer }> => {
  const [dialed, accepted] = await wirePair();
  const peer = muxerOver(name, dialed, 'dialer', { ...LAVISH, ...theirs });
  const ours = muxerOver(name, accepted, 'listener', limits);
  t.after(() => Promise.all([peer.close(), ours.close()]));
  return { peer, ours };
};

/** Streams that the peer opened and wrote `first` to. */
const openStreams = async (
  { peer, ours }: { peer: Muxer; ours: Muxer },
  count: number,
  first = new Uint8Array(1),
): Promise<{ opened: Stream[]; accepted: Stream[] }> => {
  const opened: Stream[] = [];
  const accepted: Stream[] = [];
  for (let i = 0; i < count; i++) {
    const stream = await peer.openStream();
    stream.write(first);
    opened.push(stream);
    const other = await ours.acceptStream();
    assert(other !== null);
    accepted.push(other);
  }
  return { opened, accepted };
};

for (const name of ['yamux', 'mplex'] as const) {
  describe(`memory of a connection: ${name}`, () => {
    test(
      'a peer that reads nothing: writers wait, then their streams are reset',
      HANG,
      async (t) => {
        const limit = 4 * MIB;
        const limits = { connectionMemory: limit, stallTimeout: 200 };
        // mplex has no windows: its peer does not read the wire on.
        const pair = await connect(t, name, limits, { streamBuffer: 1 });
        const count = 100;
        const { accepted } = await openStreams(pair, count);
        const { memory } = pair.ours;
        assert.equal(memory.streams, count);
        const failures = await Promise.all(
          accepted.map(async (stream) => {
            for (;;) {
              if (stream.write(new Uint8Array(CHUNK))) continue;
              try {
                await stream.drain();
              } catch (error) {
                return error;
              }
            }
          }),
        );
        for (const error of failures) assert(isLeanError(error, 'ERR_TIMEOUT'), String(error));
        assert(memory.peak > memory.unsentShare, `${memory.peak}`);
        assert(memory.peak < limit, `${memory.peak}`);
        assert.equal(memory.streams, 0);
        assert.equal(memory.unread, 0);
      },
    );

    test(
      'streams that nobody reads: the wire is not read on, then they are reset',
      HANG,
      async (t) => {
        const limit = 4 * MIB;
        const pair = await connect(t, name, { connectionMemory: limit, slowReaderTimeout: 200 });
        const { memory } = pair.ours;
        const { opened } = await openStreams(pair, 64);
        for (const stream of opened) {
          const run = async (): Promise<void> => {
            for (;;) if (!stream.write(new Uint8Array(CHUNK))) await stream.drain();
          };
          run().catch(() => {});
        }
        // A stream of somebody who behaves, behind all that.
        const good = await pair.peer.openStream();
        good.write(new TextEncoder().encode('hello'));
        let other: Stream | null;
        do other = await pair.ours.acceptStream();
        while (other === null);
        assert.equal(String(Buffer.from(await readExactly(other, 5))), 'hello');
        assert(memory.peak > memory.unreadShare, `${memory.peak}`);
        assert(memory.peak <= memory.unreadShare + WIRE_CHUNK + 66 * 4096, `${memory.peak}`);
        await pair.peer.close();
        await pair.ours.closed;
      },
    );

    test('a writer that does not wait: the connection ends at the limit', HANG, async (t) => {
      const limit = 2 * MIB;
      const pair = await connect(t, name, { connectionMemory: limit });
      const { accepted } = await openStreams(pair, 1);
      const [stream] = accepted;
      assert(stream !== undefined);
      let written = 0;
      const error = await rejection(
        (async () => {
          for (;;) {
            stream.write(new Uint8Array(CHUNK));
            written += CHUNK;
            // Does not end the turn of the event loop in which sockets are written to.
            await Promise.resolve();
          }
        })(),
      );
      assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
      assert(written <= limit + CHUNK, `${written}`);
      const reason = await pair.ours.closed;
      assert.deepEqual([reason.by, reason.code], ['local', CONN_RESOURCE_LIMIT_EXCEEDED]);
      assert.equal(pair.ours.memory.held, 0);
      if (name === 'yamux') {
        assert.equal((await pair.peer.closed).code, CONN_RESOURCE_LIMIT_EXCEEDED);
      }
    });

    test('what was put back is counted, and what ended is not', HANG, async (t) => {
      const pair = await connect(t, name, {});
      const { memory } = pair.ours;
      const { opened, accepted } = await openStreams(pair, 2, new Uint8Array(1_000));
      const [first, second] = accepted;
      assert(first !== undefined && second !== undefined);
      await readExactly(first, 1_000);
      await readExactly(second, 1_000);
      assert.equal(memory.unread, 0);
      second.unread(new Uint8Array(500));
      assert.equal(memory.unread, 500);
      // Over in both directions: what nobody reads belongs to who holds the stream.
      opened[1]?.closeWrite();
      second.closeWrite();
      const third = await openStreams(pair, 1);
      while (memory.streams > 2) await nextTurn();
      first.reset();
      third.accepted[0]?.reset();
      while (memory.unsent > 0) await nextTurn();
      assert.equal(memory.held, 0);
      assert.equal((await second.read())?.length, 500);
      assert.equal(await second.read(), null);
      assert.equal(memory.held, 0);
    });
  });
}

describe('memory of a connection whose peer reads nothing', () => {
  const STREAMS = 10_000;
  const AT_ONCE = 100;
  /** A yamux frame without a body. */
  const yamux = (flags: number, id: number, length: number): Buffer => {
    const frame = Buffer.alloc(12);
    frame[1] = 1;
    frame.writeUInt16BE(flags, 2);
    frame.writeUInt32BE(id, 4);
    frame.writeUInt32BE(length, 8);
    return frame;
  };
  /** What opens a stream of that number, and what resets it. */
  const FRAMES: Record<MuxerName, { open(n: number): Uint8Array; reset(n: number): Uint8Array }> = {
    yamux: { open: (n) => yamux(1, 2 * n + 1, 2 ** 31), reset: (n) => yamux(8, 2 * n + 1, 0) },
    mplex: {
      open: (n) => Buffer.concat([encodeVarint(8 * n), Uint8Array.of(0)]),
      reset: (n) => Buffer.concat([encodeVarint(8 * n + 6), Uint8Array.of(0)]),
    },
  };
  for (const name of ['yamux', 'mplex'] as const) {
    test(`nothing is kept of streams that it opens and resets: ${name}`, HANG, async (t) => {
      const { open, reset } = FRAMES[name];
      const limits = { connectionMemory: 128 * MIB };
      const { muxer, socket } = await muxerAndSocket(name, 'listener', limits);
      t.after(() => socket.destroy());
      socket.pause();
      socket.write(open(0));
      const first = await muxer.acceptStream();
      // More than the kernel takes.
      for (let i = 0; i < 32; i++) first?.write(new Uint8Array(MIB));
      gc();
      const before = getHeapStatistics().used_heap_size;
      for (let n = 1; n <= STREAMS; n += AT_ONCE) {
        const batch = Array.from({ length: AT_ONCE }, (_, i) => n + i);
        socket.write(Buffer.concat(batch.map(open)));
        // As a protocol does that answers at once.
        for (const _ of batch) (await muxer.acceptStream())?.write(new Uint8Array(1));
        socket.write(Buffer.concat(batch.map(reset)));
      }
      while (muxer.memory.streams > 1) await nextTurn();
      gc();
      const held = getHeapStatistics().used_heap_size - before;
      assert.ok(held < 2 * MIB, `${held} bytes`);
    });
  }
});
