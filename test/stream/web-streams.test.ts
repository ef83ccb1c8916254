import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { toWebStreams } from '../../src/stream/web-streams.ts';
import type { Stream } from '../../src/stream.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import { muxerOver, socketPair } from '../support/mux-pair.ts';
import { readAll, rejection, staysPending } from '../support/quic-helpers.ts';

const HANG = { timeout: 30_000 };

/** The two ends of a yamux stream over TCP. */
const streamPair = async (t: TestContext): Promise<[Stream, Stream]> => {
  const [left, right] = await socketPair();
  const dialed = muxerOver('yamux', socketWire(left, 'dialed'), 'dialer');
  const accepted = muxerOver('yamux', socketWire(right, 'accepted'), 'listener');
  t.after(() => Promise.all([dialed.close(), accepted.close()]));
  const opened = await dialed.openStream();
  opened.write(Buffer.from('!'));
  const other = await accepted.acceptStream();
  assert.ok(other !== null);
  assert.equal((await other.read())?.length, 1);
  return [opened, other];
};

test('both directions, to their ends', HANG, async (t) => {
  const [ours, theirs] = await streamPair(t);
  const { readable, writable } = toWebStreams(ours);
  const message = randomBytes(3 << 20);
  const sent = new Blob([message]).stream().pipeTo(writable);
  const got = await readAll(theirs);
  await sent;
  assert.ok(message.equals(got));
  theirs.write(Buffer.from('answer'));
  theirs.closeWrite();
  assert.equal(await new Response(readable).text(), 'answer');
});

test('a writer is held back while the peer does not read', HANG, async (t) => {
  const [ours] = await streamPair(t);
  const writer = toWebStreams(ours).writable.getWriter();
  let taken = 0;
  const filling = (async () => {
    for (;;) {
      await writer.ready;
      writer.write(new Uint8Array(65_536)).catch(() => {});
      taken += 65_536;
      assert.ok(taken < 64 << 20, 'the writer was never held back');
    }
  })();
  assert.ok(await staysPending(filling, 300));
  ours.reset();
  const error = await rejection(filling);
  assert.ok(isLeanError(error, 'ERR_STREAM_CLOSED'), String(error));
});

test('nothing is read that nobody asks for', HANG, async (t) => {
  const [ours, theirs] = await streamPair(t);
  const { readable } = toWebStreams(ours);
  theirs.write(Buffer.from('waits'));
  theirs.closeWrite();
  await new Promise((go) => setImmediate(go));
  // Still there: the bridge has not taken it.
  assert.equal(Buffer.from((await ours.read()) ?? []).toString(), 'waits');
  assert.equal(await new Response(readable).text(), '');
});

test('cancel() stops the peer, abort() resets', HANG, async (t) => {
  const [ours, theirs] = await streamPair(t);
  const { readable, writable } = toWebStreams(ours);
  await readable.cancel();
  const flood = async (): Promise<void> => {
    for (;;) if (!theirs.write(new Uint8Array(65_536))) await theirs.drain();
  };
  assert.ok(isLeanError(await rejection(flood()), 'ERR_STREAM_STOPPED'));

  const [other, far] = await streamPair(t);
  const pair = toWebStreams(other);
  await pair.writable.abort(new Error('no more'));
  assert.ok(isLeanError(await rejection(far.read()), 'ERR_STREAM_RESET'));
  await writable.abort();
});

test('what read() throws reaches the reader', HANG, async (t) => {
  const [ours, theirs] = await streamPair(t);
  const { readable } = toWebStreams(ours);
  theirs.reset(3);
  assert.ok(isLeanError(await rejection(new Response(readable).text()), 'ERR_STREAM_RESET'));
});
