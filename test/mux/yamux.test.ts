/** yamux frame by frame: a bare TCP socket speaks to the muxer (libp2p/specs yamux/README.md). */

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import type { MuxLimits } from '../../src/mux/mux-limits.ts';
import { readExactly, writeAll } from '../../src/stream/bytes.ts';
import { StreamResetError } from '../../src/stream.ts';
import { muxerAndSocket, muxerOver, wirePair } from '../support/mux-pair.ts';
import { hashAll, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const [DATA, WINDOW, PING, GO_AWAY] = [0, 1, 2, 3];
const [SYN, ACK, FIN, RST] = [1, 2, 4, 8];
const WINDOW_SIZE = 256 * 1024;

const frame = (type: number, flags: number, id: number, length: number, body = ''): Buffer => {
  const header = Buffer.alloc(12);
  header[1] = type;
  header.writeUInt16BE(flags, 2);
  header.writeUInt32BE(id, 4);
  header.writeUInt32BE(length, 8);
  return Buffer.concat([header, Buffer.from(body)]);
};
const data = (flags: number, id: number, body: string): Buffer =>
  frame(DATA, flags, id, body.length, body);

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly length: number;
  readonly body: string;
}

/** The whole frames in `bytes`. */
const parse = (bytes: Buffer): Frame[] => {
  const frames: Frame[] = [];
  for (let at = 0; at + 12 <= bytes.length; ) {
    const type = bytes.readUInt8(at + 1);
    const length = bytes.readUInt32BE(at + 8);
    const end = at + 12 + (type === DATA ? length : 0);
    if (end > bytes.length) break;
    const body = bytes.toString('latin1', at + 12, end);
    frames.push({
      type,
      flags: bytes.readUInt16BE(at + 2),
      id: bytes.readUInt32BE(at + 4),
      length,
      body,
    });
    at = end;
  }
  return frames;
};

const start = async (
  t: TestContext,
  role: 'dialer' | 'listener' = 'listener',
  limits: Partial<MuxLimits> = {},
) => {
  const { muxer, socket, wait, received } = await muxerAndSocket('yamux', role, limits);
  t.after(() => {
    socket.destroy();
    return muxer.close();
  });
  /** The first `count` frames that match. */
  const frames = async (count: number, match: (it: Frame) => boolean = () => true) => {
    const found = (bytes: Buffer) => parse(bytes).filter(match);
    return found(await wait((bytes) => found(bytes).length >= count));
  };
  /** Resolves with the answer to a ping: what the muxer sent before has come. */
  const answered = async () => {
    socket.write(frame(PING, SYN, 0, 0xa5));
    await frames(1, ({ type, flags, length }) => type === PING && flags === ACK && length === 0xa5);
  };
  return { muxer, socket, frames, answered, received: () => parse(received()) };
};

/** That the muxer says GO_AWAY with a protocol error, ends, and closes the socket. */
const assertViolation = async (
  { muxer, socket, frames }: Awaited<ReturnType<typeof start>>,
  reason: RegExp,
): Promise<void> => {
  const close = await muxer.closed;
  assert.deepEqual([close.by, close.code, close.application], ['error', 1, false]);
  assert.match(close.reason, reason);
  const [goAway] = await frames(1, ({ type }) => type === GO_AWAY);
  assert.equal(goAway?.length, 1);
  if (!socket.readableEnded) await new Promise((end) => socket.once('end', end));
};

describe('yamux on the wire', SUITE, () => {
  test('a dialer opens odd streams, SYN with the first bytes, FIN on its own', async (t) => {
    const { muxer, socket, frames } = await start(t, 'dialer');
    const [first, second] = [await muxer.openStream(), await muxer.openStream()];
    first.write(Buffer.from('hello '));
    first.write(Buffer.from('you'));
    first.closeWrite();
    second.closeWrite();
    const none = { length: 0, body: '' };
    const opened = [
      { type: DATA, flags: SYN, id: 1, length: 9, body: 'hello you' },
      { type: WINDOW, flags: SYN, id: 3, ...none },
    ];
    assert.deepEqual(await frames(2), opened);
    // js-libp2p resets a stream that is over before its muxer is up, so it has to speak first.
    socket.write(frame(WINDOW, ACK, 1, 0));
    assert.deepEqual(await frames(4), [
      ...opened,
      { type: WINDOW, flags: FIN, id: 1, ...none },
      { type: WINDOW, flags: FIN, id: 3, ...none },
    ]);
    const third = await muxer.openStream();
    third.closeWrite();
    assert.deepEqual((await frames(6)).slice(4), [
      { type: WINDOW, flags: SYN, id: 5, ...none },
      { type: WINDOW, flags: FIN, id: 5, ...none },
    ]);
  });

  test('a dialer ends its streams to a peer that says nothing, too', async (t) => {
    const { muxer, frames } = await start(t, 'dialer');
    const stream = await muxer.openStream();
    stream.write(Buffer.from('x'));
    stream.closeWrite();
    const [, end] = await frames(2);
    assert.deepEqual(end, { type: WINDOW, flags: FIN, id: 1, length: 0, body: '' });
  });

  test('a dialer that closes the connection at once has ended its streams before', async (t) => {
    const { muxer, frames } = await start(t, 'dialer');
    const stream = await muxer.openStream();
    stream.write(Buffer.from('x'));
    stream.closeWrite();
    await muxer.close();
    const sent = (await frames(3)).map(({ type, flags }) => [type, flags]);
    assert.deepEqual(sent, [
      [DATA, SYN],
      [WINDOW, FIN],
      [GO_AWAY, 0],
    ]);
  });

  test('a listener opens even streams, and acknowledges what it accepts with its first frame', async (t) => {
    const { muxer, socket, frames } = await start(t);
    const ours = await muxer.openStream();
    ours.write(Buffer.from('x'));
    assert.deepEqual(await frames(1), [{ type: DATA, flags: SYN, id: 2, length: 1, body: 'x' }]);
    socket.write(Buffer.concat([data(SYN, 1, 'ping'), frame(WINDOW, SYN, 3, 0)]));
    const [one, three] = [await muxer.acceptStream(), await muxer.acceptStream()];
    one?.write(Buffer.from('pong'));
    assert(three !== null);
    const answers = await frames(2, ({ id }) => id % 2 === 1);
    assert.deepEqual(answers, [
      { type: DATA, flags: ACK, id: 1, length: 4, body: 'pong' },
      { type: WINDOW, flags: ACK, id: 3, length: 0, body: '' },
    ]);
  });

  test('is not acknowledged: a stream that nobody has accepted', async (t) => {
    const { socket, muxer, frames } = await start(t);
    socket.write(Buffer.concat([data(SYN, 1, 'x'), frame(PING, SYN, 0, 1)]));
    assert.deepEqual(
      (await frames(1)).map(({ type }) => type),
      [PING],
    );
    await muxer.acceptStream();
    assert.deepEqual(
      (await frames(2)).map(({ flags }) => flags),
      [ACK, ACK],
    );
  });

  test('frames are understood in whatever pieces they come', async (t) => {
    const { muxer, socket } = await start(t);
    const bytes = Buffer.concat([
      data(SYN, 1, 'some bytes'),
      frame(WINDOW, 0, 1, 5),
      data(0, 1, ', some more'),
      data(FIN, 1, '.'),
      data(SYN | FIN, 3, 'all at once'),
    ]);
    for (const byte of bytes) {
      socket.write(Uint8Array.of(byte));
      await new Promise((go) => setImmediate(go));
    }
    const [one, three] = [await muxer.acceptStream(), await muxer.acceptStream()];
    assert(one !== null && three !== null);
    assert.equal(String(await readAll(one)), 'some bytes, some more.');
    assert.equal(String(await readAll(three)), 'all at once');
  });

  test('answers pings', async (t) => {
    const { socket, frames } = await start(t);
    socket.write(frame(PING, SYN, 0, 0xfeedbeef));
    const pong = { type: PING, flags: ACK, id: 0, length: 0xfeedbeef, body: '' };
    assert.deepEqual(await frames(1), [pong]);
  });

  test('sends no more than the window, and the rest when it is opened', async (t) => {
    const { muxer, socket, frames, answered, received } = await start(t, 'dialer');
    const stream = await muxer.openStream();
    stream.write(new Uint8Array(WINDOW_SIZE + 1_000));
    const sent = (): number =>
      received().reduce((sum, { type, length }) => sum + (type === DATA ? length : 0), 0);
    await answered();
    assert.equal(sent(), WINDOW_SIZE);
    socket.write(frame(WINDOW, ACK, 1, 600));
    await frames(1, ({ length }) => length === 600);
    socket.write(frame(WINDOW, 0, 1, 5_000));
    await frames(1, ({ length }) => length === 400);
    assert.equal(sent(), WINDOW_SIZE + 1_000);
  });

  test('opens the window as the application reads, and further for a fast reader', async (t) => {
    const [left, right] = await wirePair();
    const [dialed, accepted] = [
      muxerOver('yamux', left, 'dialer'),
      muxerOver('yamux', right, 'listener'),
    ];
    t.after(() => Promise.all([dialed.close(), accepted.close()]));
    const stream = await dialed.openStream();
    let waits = 0;
    const writing = (async () => {
      for (let i = 0; i < 500; i++) {
        if (!stream.write(new Uint8Array(65_536))) {
          waits++;
          await stream.drain();
        }
      }
      stream.closeWrite();
    })();
    const other = await accepted.acceptStream();
    assert(other !== null);
    await Promise.all([writing, hashAll(other)]);
    assert(waits > 0);
  });

  test('grows a window within its limits only', async (t) => {
    const { muxer, socket, frames } = await start(t, 'listener', {
      maxWindow: WINDOW_SIZE + 1_000,
    });
    socket.write(frame(WINDOW, SYN, 1, 0));
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    for (let round = 0; round < 6; round++) {
      socket.write(frame(DATA, 0, 1, 100_000, 'x'.repeat(100_000)));
      await readExactly(stream, 100_000);
    }
    socket.write(frame(PING, SYN, 0, 1));
    await frames(1, ({ type, flags }) => type === PING && flags === ACK);
    const updates = await frames(1, ({ type }) => type === WINDOW);
    const granted = updates.reduce((sum, { length }) => sum + length, WINDOW_SIZE);
    const open = granted - 600_000;
    assert(open > WINDOW_SIZE / 2 && open <= WINDOW_SIZE + 1_000, `${open} bytes may come`);
  });

  test('waits with SYN while 256 streams are unacknowledged', async (t) => {
    const { muxer, socket, frames, answered, received } = await start(t, 'dialer');
    const streams = await Promise.all(Array.from({ length: 300 }, () => muxer.openStream()));
    for (const stream of streams) stream.write(Buffer.from('x'));
    await answered();
    const opened = ({ type, flags }: Frame): boolean => type !== PING && flags === SYN;
    assert.equal(received().filter(opened).length, 256);
    streams.at(-1)?.reset(); // never sent: the peer need not know
    socket.write(
      Buffer.concat([frame(WINDOW, ACK, 1, 0), frame(WINDOW, RST, 3, 0), data(0, 5, 'y')]),
    );
    await frames(258, opened);
    for (let id = 7; id < 601; id += 2) socket.write(frame(WINDOW, ACK, id, 0));
    await frames(299, opened);
    const sent = received().filter(({ type }) => type !== PING);
    assert(sent.every(({ id, flags }) => id < 599 && flags === SYN));
  });

  test('a reset carries its code both ways, and later frames for the stream are skipped', async (t) => {
    const { muxer, socket, frames } = await start(t);
    socket.write(data(SYN, 1, 'x'));
    const stream = await muxer.acceptStream();
    stream?.reset(42);
    const [reset] = await frames(1, ({ flags }) => (flags & RST) !== 0);
    assert.deepEqual([reset?.id, reset?.length], [1, 42]);
    socket.write(Buffer.concat([data(0, 1, 'late'), frame(WINDOW, FIN, 1, 9), data(SYN, 3, 'z')]));
    const next = await muxer.acceptStream();
    assert(next !== null);
    assert.equal(String(Buffer.from((await next.read()) ?? [])), 'z');
    const reading = rejection(next.read());
    socket.write(frame(WINDOW, RST, 3, 77));
    const error = await reading;
    assert(error instanceof StreamResetError);
    assert.deepEqual([error.code, error.resetCode], ['ERR_STREAM_RESET', 77]);
    assert.throws(
      () => next.write(Buffer.from('x')),
      (it) => isLeanError(it, 'ERR_STREAM_STOPPED'),
    );
  });

  test('close() says GO_AWAY with its code, and so it is read', async (t) => {
    const { muxer, socket, frames } = await start(t);
    await muxer.close(5);
    assert.deepEqual(await frames(1), [{ type: GO_AWAY, flags: 0, id: 0, length: 5, body: '' }]);
    if (!socket.readableEnded) await new Promise((end) => socket.once('end', end));
    const other = await start(t);
    other.socket.write(frame(GO_AWAY, 0, 0, 5));
    const reason = { by: 'remote', code: 5, application: true, reason: '' };
    assert.deepEqual(await other.muxer.closed, reason);
    const third = await start(t);
    third.socket.write(frame(GO_AWAY, 0, 0, 2));
    assert.equal((await third.muxer.closed).application, false);
  });

  test('after a normal GO_AWAY, streams finish and none is opened', async (t) => {
    const { muxer, socket, frames } = await start(t);
    socket.write(Buffer.concat([data(SYN, 1, 'question'), frame(GO_AWAY, 0, 0, 0)]));
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    await readExactly(stream, 8);
    const error = await rejection(muxer.openStream());
    assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
    await writeAll(stream, Buffer.from('answer'));
    stream.closeWrite();
    await frames(1, ({ body }) => body === 'answer');
    socket.write(frame(DATA, FIN, 1, 0));
    assert.deepEqual(await muxer.closed, { by: 'remote', code: 0, application: true, reason: '' });
  });
});

describe('a hostile yamux peer', SUITE, () => {
  const attacks: readonly [string, readonly Buffer[], RegExp][] = [
    ['another version', [Buffer.from([1, ...frame(PING, SYN, 0, 0).subarray(1)])], /version 1/],
    ['an unknown type', [frame(9, 0, 1, 0)], /unknown type 9/],
    ['HTTP', [Buffer.from('GET / HTTP/1.1\r\n\r\n')], /yamux/],
    ['data for stream 0', [data(0, 0, 'x')], /id 0/],
    ['a stream of our own parity', [data(SYN, 2, 'x')], /which is ours/],
    ['a stream opened twice', [data(SYN, 1, 'x'), data(SYN, 1, 'x')], /twice/],
    [
      'a window overrun in one frame',
      [frame(WINDOW, SYN, 1, 0), frame(DATA, 0, 1, WINDOW_SIZE + 1)],
      /overruns/,
    ],
    [
      'a window overrun in many frames',
      [frame(WINDOW, SYN, 1, 0), ...Array(5).fill(data(0, 1, 'x'.repeat(60_000)))],
      /overruns/,
    ],
    ['a billion bytes for a stream', [frame(DATA, SYN, 1, 1e9)], /overruns/],
    ['a billion bytes for no stream', [frame(DATA, 0, 99, 1e9)], /frame of 1000000000 bytes/],
  ];
  for (const [name, frames, reason] of attacks) {
    test(`sends ${name}`, async (t) => {
      const peer = await start(t);
      peer.socket.write(Buffer.concat(frames));
      await assertViolation(peer, reason);
    });
  }

  test('sends frames for streams that never were: they are skipped', async (t) => {
    const { muxer, socket } = await start(t);
    socket.write(
      Buffer.concat([
        data(0, 77, 'x'.repeat(100_000)),
        frame(WINDOW, RST, 79, 0),
        frame(WINDOW, FIN, 81, 1e9),
        frame(PING, ACK, 0, 5),
        data(SYN, 1, 'still here'),
      ]),
    );
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    assert.equal(String(Buffer.from((await stream.read()) ?? [])), 'still here');
  });

  test('opens a stream behind a GO_AWAY with an error: nobody gets it', async (t) => {
    const { muxer, socket } = await start(t);
    socket.write(Buffer.concat([frame(GO_AWAY, 0, 0, 1), data(SYN, 1, 'too late')]));
    await muxer.closed;
    assert.equal(await muxer.acceptStream(), null);
    assert.equal(muxer.memory.held, 0);
  });

  test('opens streams without end: those over the backlog are reset', async (t) => {
    const { muxer, socket, frames } = await start(t, 'listener', {
      acceptBacklog: 16,
      maxStreams: 20,
    });
    for (let id = 1; id < 200; id += 2) socket.write(data(SYN, id, 'x'));
    const resets = await frames(84, ({ flags }) => (flags & RST) !== 0);
    assert.deepEqual(
      resets.map(({ id }) => id),
      Array.from({ length: 84 }, (_, i) => 33 + 2 * i),
    );
    // Accepted, they still count, until they end.
    for (let i = 0; i < 16; i++) (await muxer.acceptStream())?.closeWrite();
    for (let id = 201; id < 211; id += 2) socket.write(data(SYN, id, 'x'));
    await frames(85, ({ flags }) => (flags & RST) !== 0);
    socket.write(Buffer.concat([frame(DATA, FIN, 1, 0), data(SYN, 301, 'x')]));
    for (let i = 0; i < 4; i++) await muxer.acceptStream();
    assert.equal((await muxer.acceptStream())?.id, 'in-301');
  });

  test('opens and resets streams without end: they leave nothing behind', async (t) => {
    const { muxer, socket, frames } = await start(t, 'listener', {
      acceptBacklog: 16,
      maxStreams: 20,
    });
    for (let id = 1; id < 4_000; id += 2) {
      socket.write(Buffer.concat([data(SYN, id, 'x'), frame(WINDOW, RST, id, 0)]));
    }
    socket.write(Buffer.concat([data(SYN, 9_999, 'x'), frame(PING, SYN, 0, 1)]));
    const [only] = await frames(1);
    assert.equal(only?.type, PING); // no stream was refused
    assert.equal((await muxer.acceptStream())?.id, 'in-9999');
  });

  test('pings without reading: the connection ends before the answers pile up', async (t) => {
    const { muxer, socket } = await start(t);
    socket.pause();
    const pings = Buffer.concat(Array.from({ length: 5_000 }, (_, i) => frame(PING, SYN, 0, i)));
    let over = false;
    const closed = muxer.closed.then((reason) => {
      over = true;
      return reason;
    });
    while (!over) {
      if (!socket.write(pings)) {
        await Promise.race([closed, new Promise((drain) => socket.once('drain', drain))]);
      }
      await new Promise((go) => setImmediate(go));
    }
    assert.match((await closed).reason, /does not read the answers/);
  });

  test('fills windows with one-byte frames: memory stays near the bytes', async (t) => {
    const { muxer, socket, frames } = await start(t);
    const tiny = Buffer.concat(Array(4_096).fill(data(0, 1, 'x')));
    socket.write(frame(WINDOW, SYN, 1, 0));
    for (let i = 0; i < 60; i++) socket.write(tiny);
    socket.write(frame(PING, SYN, 0, 1));
    await frames(1);
    const stream = await muxer.acceptStream();
    assert(stream !== null);
    let chunks = 0;
    for (let got = 0; got < 60 * 4_096; chunks++) {
      const chunk = await stream.read();
      assert(chunk !== null);
      got += chunk.length;
      assert(chunk.buffer.byteLength < 20_000, `a chunk pins ${chunk.buffer.byteLength} bytes`);
    }
    assert(chunks < 100, `${chunks} chunks`);
  });

  for (const [what, end] of [
    [
      'in the middle of a header',
      (socket: Socket) => socket.end(frame(DATA, SYN, 1, 5).subarray(0, 7)),
    ],
    ['in the middle of a body', (socket: Socket) => socket.end(frame(DATA, SYN, 1, 5, 'abc'))],
    ['with a TCP reset', (socket: Socket) => socket.resetAndDestroy()],
  ] as const) {
    test(`leaves ${what}`, async (t) => {
      const { muxer, socket } = await start(t);
      end(socket);
      assert.notEqual((await muxer.closed).by, 'local');
      const error = await rejection(muxer.openStream());
      assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
    });
  }
});
