/** mplex message by message: a bare TCP socket speaks to the muxer (libp2p/specs mplex/README.md). */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { selectLazily } from '../../src/multistream.ts';
import type { MuxLimits } from '../../src/mux/mux-limits.ts';
import { PERF, perf } from '../../src/protocols/perf.ts';
import { encodeVarint, readExactly } from '../../src/stream/bytes.ts';
import { muxerAndSocket } from '../support/mux-pair.ts';
import { readAll, rejection, staysPending } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const NEW = 0;
const [MESSAGE_RECEIVER, MESSAGE_INITIATOR] = [1, 2];
const [CLOSE_RECEIVER, CLOSE_INITIATOR] = [3, 4];
const [RESET_RECEIVER, RESET_INITIATOR] = [5, 6];

/** multistream-select's. */
const HEADER = '\x13/multistream/1.0.0\n';

const message = (id: number, flag: number, body: string | Uint8Array = ''): Buffer =>
  Buffer.concat([encodeVarint(id * 8 + flag), encodeVarint(body.length), Buffer.from(body)]);

interface Message {
  readonly id: number;
  readonly flag: number;
  readonly body: string;
}

/** The whole messages in `bytes`; varints of at most two bytes. */
const parse = (bytes: Buffer): Message[] => {
  const messages: Message[] = [];
  let at = 0;
  const varint = (): number => {
    const low = bytes[at++] ?? Number.NaN;
    return low < 128 ? low : low - 128 + 128 * (bytes[at++] ?? Number.NaN);
  };
  for (;;) {
    const head = varint();
    const length = varint();
    if (!(at + length <= bytes.length)) return messages;
    const body = bytes.toString('latin1', at, at + length);
    messages.push({ id: Math.floor(head / 8), flag: head % 8, body });
    at += length;
  }
};

const start = async (
  t: TestContext,
  role: 'dialer' | 'listener' = 'listener',
  limits: Partial<MuxLimits> = {},
) => {
  const { muxer, socket, wait } = await muxerAndSocket('mplex', role, limits);
  t.after(() => {
    socket.destroy();
    return muxer.close();
  });
  const messages = async (count: number) => parse(await wait((it) => parse(it).length >= count));
  return { muxer, socket, messages };
};

describe('mplex on the wire', SUITE, () => {
  test('opens a stream with the first bytes, and ends it', async (t) => {
    const { muxer, socket, messages } = await start(t, 'dialer');
    const [first, second] = [await muxer.openStream(), await muxer.openStream()];
    first.write(Buffer.from('hello '));
    first.write(Buffer.from('you'));
    first.closeWrite();
    second.write(Buffer.from('x'));
    const opened = [
      { id: 0, flag: NEW, body: '' },
      { id: 0, flag: MESSAGE_INITIATOR, body: 'hello you' },
      { id: 1, flag: NEW, body: '' },
      { id: 1, flag: MESSAGE_INITIATOR, body: 'x' },
    ];
    assert.deepEqual(await messages(4), opened);
    // js-libp2p resets a stream that is over before its muxer is up, so it has to speak first.
    socket.write(message(0, MESSAGE_RECEIVER, 'you too'));
    assert.deepEqual(await messages(5), [...opened, { id: 0, flag: CLOSE_INITIATOR, body: '' }]);
    second.reset();
    assert.deepEqual((await messages(6))[5], { id: 1, flag: RESET_INITIATOR, body: '' });
  });

  test('answers on the peer’s streams as their receiver; equal numbers do not meet', async (t) => {
    const { muxer, socket, messages } = await start(t);
    const ours = await muxer.openStream();
    ours.write(Buffer.from('ours'));
    await messages(2);
    socket.write(
      Buffer.concat([
        message(0, NEW, 'a name'),
        message(0, MESSAGE_INITIATOR, 'theirs'),
        message(0, MESSAGE_RECEIVER, 'for ours'),
        message(0, CLOSE_INITIATOR),
        message(0, CLOSE_RECEIVER),
      ]),
    );
    const theirs = await muxer.acceptStream();
    assert(theirs !== null);
    assert.equal(String(await readAll(theirs)), 'theirs');
    assert.equal(String(await readAll(ours)), 'for ours');
    theirs.write(Buffer.from('answer'));
    theirs.closeWrite();
    assert.deepEqual((await messages(4)).slice(2), [
      { id: 0, flag: MESSAGE_RECEIVER, body: 'answer' },
      { id: 0, flag: CLOSE_RECEIVER, body: '' },
    ]);
  });

  test('messages are understood in whatever pieces they come', async (t) => {
    const { muxer, socket } = await start(t);
    const bytes = Buffer.concat([
      message(1_000_000, NEW, '1000000'),
      message(1_000_000, MESSAGE_INITIATOR, 'x'.repeat(300)),
      message(1_000_000, MESSAGE_INITIATOR),
      message(1_000_000, CLOSE_INITIATOR),
    ]);
    for (const byte of bytes) {
      socket.write(Uint8Array.of(byte));
      await new Promise((go) => setImmediate(go));
    }
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    assert.equal(String(await readAll(stream)), 'x'.repeat(300));
  });

  test('a reset by the peer', async (t) => {
    const { muxer, socket } = await start(t);
    socket.write(message(3, NEW));
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    const reading = rejection(stream.read());
    socket.write(message(3, RESET_INITIATOR));
    assert(isLeanError(await reading, 'ERR_STREAM_RESET'));
    const stopped = (error: unknown) => isLeanError(error, 'ERR_STREAM_STOPPED');
    assert.throws(() => stream.write(Buffer.from('x')), stopped);
  });
});

describe('a reset behind an answer', SUITE, () => {
  const na = [message(0, MESSAGE_RECEIVER, HEADER), message(0, MESSAGE_RECEIVER, '\x03na\n')];
  const reset = message(0, RESET_RECEIVER);

  test('the answer is read all the same', async (t) => {
    const { muxer, socket, messages } = await start(t, 'dialer');
    const stream = selectLazily(await muxer.openStream(), '/a/1');
    stream.write(Buffer.from('payload'));
    await messages(2);
    socket.write(Buffer.concat([...na, reset]));
    assert(isLeanError(await rejection(stream.read()), 'ERR_PROTOCOL_NOT_SUPPORTED'));
  });

  test('of an upload', async (t) => {
    const { muxer, socket, messages } = await start(t, 'dialer');
    const transfer = rejection(perf(selectLazily(await muxer.openStream(), PERF), 10 << 20, 0));
    await messages(3);
    socket.write(Buffer.concat([...na, reset]));
    assert(isLeanError(await transfer, 'ERR_PROTOCOL_NOT_SUPPORTED'));
  });

  test('without an answer, the error says that it may be one', async (t) => {
    for (const upload of [1, 10 << 20]) {
      const { muxer, socket, messages } = await start(t, 'dialer');
      const stream = selectLazily(await muxer.openStream(), PERF);
      const transfer = rejection(perf(stream, upload, 0));
      await messages(2);
      socket.write(reset);
      const error = await transfer;
      assert(isLeanError(error, 'ERR_STREAM_RESET'), String(error));
      assert.match(error.message, /reset .*\/perf\/1\.0\.0.*may not support/);
    }
  });

  test('what is more than an answer is discarded, and so is what came to a stream of the peer’s', async (t) => {
    const { muxer, socket, messages } = await start(t, 'dialer');
    const ours = await muxer.openStream();
    ours.write(Buffer.from('x'));
    await messages(2);
    socket.write(
      Buffer.concat([
        message(0, MESSAGE_RECEIVER, 'x'.repeat(2_000)),
        reset,
        message(7, NEW),
        message(7, MESSAGE_INITIATOR, 'y'),
        message(7, RESET_INITIATOR),
      ]),
    );
    const theirs = await muxer.acceptStream();
    assert(theirs !== null);
    for (const stream of [ours, theirs]) {
      assert(isLeanError(await rejection(stream.read()), 'ERR_STREAM_RESET'));
    }
  });
});

describe('a hostile or careless mplex peer', SUITE, () => {
  const attacks: readonly [string, readonly Uint8Array[], RegExp][] = [
    [
      'a message over 1 MiB',
      [message(0, NEW), Buffer.from([2, 0x81, 0x80, 0x40])],
      /of 1048577 bytes/,
    ],
    ['a billion bytes', [encodeVarint(NEW), encodeVarint(1e9)], /of 1000000000 bytes/],
    ['a varint without end', [Buffer.alloc(10, 0xff)], /varint/],
    ['an unknown flag', [message(0, 7)], /flag 7/],
    ['a stream opened twice', [message(5, NEW), message(5, NEW)], /twice/],
  ];
  for (const [name, bytes, reason] of attacks) {
    test(`sends ${name}`, async (t) => {
      const { muxer, socket } = await start(t);
      socket.write(Buffer.concat(bytes));
      const close = await muxer.closed;
      assert.deepEqual([close.by, close.code], ['error', 1]);
      assert.match(close.reason, reason);
      if (!socket.readableEnded) await new Promise((end) => socket.once('end', end));
    });
  }

  test('sends messages for streams that never were: they are skipped', async (t) => {
    const { muxer, socket } = await start(t);
    socket.write(
      Buffer.concat([
        message(9, MESSAGE_INITIATOR, 'x'.repeat(100_000)),
        message(9, CLOSE_RECEIVER),
        message(9, RESET_RECEIVER),
        message(0, NEW),
        message(0, MESSAGE_INITIATOR, 'still here'),
      ]),
    );
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    assert.equal(String(Buffer.from(await readExactly(stream, 10))), 'still here');
  });

  test('opens streams without end: those over the backlog are reset', async (t) => {
    const { socket, messages } = await start(t, 'listener', { acceptBacklog: 16 });
    for (let id = 0; id < 100; id++) socket.write(message(id, NEW));
    const resets = await messages(84);
    assert(resets.every(({ flag }) => flag === RESET_RECEIVER));
    assert.deepEqual(
      resets.map(({ id }) => id),
      Array.from({ length: 84 }, (_, i) => 16 + i),
    );
  });

  /** Opens stream 0 and writes until the muxer has stopped reading; how much it took. */
  const flood = async (socket: Socket): Promise<number> => {
    socket.write(message(0, NEW));
    const big = message(0, MESSAGE_INITIATOR, new Uint8Array(100_000));
    let written = 0;
    for (;;) {
      written += big.length;
      if (socket.write(big)) continue;
      const drained = new Promise((drain) => socket.once('drain', drain));
      if (await staysPending(drained, 300)) return written;
    }
  };

  test('writes to a stream that is not read: it is held up, and nothing is lost', async (t) => {
    const { muxer, socket } = await start(t, 'listener', { streamBuffer: 100_000 });
    const written = await flood(socket);
    assert(written > 100_000);
    socket.write(message(0, CLOSE_INITIATOR));
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    let got = 0;
    for (;;) {
      const chunk = await stream.read();
      if (chunk === null) break;
      got += chunk.length;
    }
    assert.equal(got % 100_000, 0);
    assert(got > 100_000 && got <= written);
  });

  test('writes to a stream that is never read: it is reset, and the others go on', async (t) => {
    const limits = { streamBuffer: 100_000, slowReaderTimeout: 50 };
    const { muxer, socket, messages } = await start(t, 'listener', limits);
    socket.write(message(0, NEW));
    socket.write(message(0, MESSAGE_INITIATOR, new Uint8Array(1_000_000)));
    socket.write(Buffer.concat([message(1, NEW), message(1, MESSAGE_INITIATOR, 'hello')]));
    assert.deepEqual(await messages(1), [{ id: 0, flag: RESET_RECEIVER, body: '' }]);
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    assert.equal(String(Buffer.from(await readExactly(stream, 5))), 'hello');
  });

  test('writes to many streams that are not read: together they are bounded too', async (t) => {
    const limits = { streamBuffer: 400_000, connectionMemory: 1_777_778, slowReaderTimeout: 50 };
    const { muxer, socket, messages } = await start(t, 'listener', limits);
    for (let id = 0; id < 8; id++) {
      socket.write(
        Buffer.concat([message(id, NEW), message(id, MESSAGE_INITIATOR, new Uint8Array(198_000))]),
      );
    }
    // The sixth passes the 1,000,000 that may be unread; as many are reset that half of that is left.
    const resets = await messages(3);
    assert.deepEqual(
      resets.slice(0, 3).map(({ flag }) => flag),
      Array(3).fill(RESET_RECEIVER),
    );
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    assert.equal((await readExactly(stream, 198_000)).length, 198_000);
  });
});
