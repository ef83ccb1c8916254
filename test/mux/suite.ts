/**
 * The one suite that the streams of every muxer pass, and those of QUIC can be put through: over real
 * sockets. A test fails by an assertion; the time limits only keep a hang from lasting.
 */

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { describe, type TestContext, test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { readExactly, writeAll } from '../../src/stream/bytes.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';
import type { StreamConnection, ConnectionPair as StreamPair } from '../stream/contract.ts';
import { echo, hashAll, readAll, rejection, staysPending } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

export interface ConnectionPair extends StreamPair {
  /** Ends the connection under both without a word to either, if the test can. */
  readonly cut?: () => void;
}

export interface SuiteOptions {
  /** A new connection, to be closed when the test ends. */
  readonly connect: (t: TestContext) => Promise<ConnectionPair>;
  /** Whether a stream that is not read leaves the others alone. */
  readonly independent: boolean;
  /** Whether an error code reaches the peer with a reset. */
  readonly resetCodes: boolean;
  /** Streams open at once in the concurrency test. Default 1,000. */
  readonly concurrent?: number;
}

const HANG = { timeout: 30_000 };
const MIB = 1 << 20;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const assertBytes = (actual: Uint8Array, expected: Uint8Array | string): void =>
  assert.deepEqual(Buffer.from(actual), Buffer.from(expected as Uint8Array));
const withCode =
  (code: Parameters<typeof isLeanError>[1]) =>
  (error: unknown): boolean =>
    isLeanError(error, code);

export const streamSuite = (name: string, options: SuiteOptions): void => {
  const { connect } = options;

  /** A stream that `from` opened and `to` accepted; its first byte was written and read. */
  const openPair = async (
    from: StreamConnection,
    to: StreamConnection,
  ): Promise<[opened: Stream, accepted: Stream]> => {
    const opened = await from.openStream();
    opened.write(text('!'));
    const accepted = await to.acceptStream();
    assert(accepted !== null);
    assertBytes(await readExactly(accepted, 1), '!');
    return [opened, accepted];
  };

  const serve = (
    connection: StreamConnection,
    handler: (stream: Stream) => Promise<void>,
  ): void => {
    const run = async (): Promise<void> => {
      for (;;) {
        const stream = await connection.acceptStream();
        if (stream === null) return;
        handler(stream).catch(() => stream.reset());
      }
    };
    run().catch(() => {});
  };

  const exchange = async (connection: StreamConnection, message: Uint8Array): Promise<Buffer> => {
    const stream = await connection.openStream();
    stream.write(message);
    stream.closeWrite();
    return readAll(stream);
  };

  const writeMuch = async (stream: Stream, data: Uint8Array, step = 65_536): Promise<void> => {
    for (let at = 0; at < data.length; at += step) {
      await writeAll(stream, data.subarray(at, at + step));
    }
    stream.closeWrite();
  };

  describe(name, SUITE, () => {
    test('either side opens streams and both directions carry bytes', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      for (const [from, to] of [
        [dialed, accepted],
        [accepted, dialed],
      ] as const) {
        const [opened, other] = await openPair(from, to);
        other.write(text('there'));
        assertBytes(await readExactly(opened, 5), 'there');
        opened.write(text('and back'));
        assertBytes(await readExactly(other, 8), 'and back');
        opened.closeWrite();
        other.closeWrite();
        assert.equal(await opened.read(), null);
        assert.equal(await other.read(), null);
      }
    });

    test('a stream that only says that it has nothing to say', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      const opened = await dialed.openStream();
      opened.closeWrite();
      const other = await accepted.acceptStream();
      assert(other !== null);
      assert.equal(await other.read(), null);
      other.write(text('ok'));
      other.closeWrite();
      assertBytes(await readAll(opened), 'ok');
    });

    for (const who of ['opened', 'accepted'] as const) {
      test(`reset by the side that ${who} it ends both directions at once`, HANG, async (t) => {
        const { dialed, accepted } = await connect(t);
        const pair = await openPair(dialed, accepted);
        const [ours, theirs] = who === 'opened' ? pair : [pair[1], pair[0]];
        const reading = rejection(theirs.read());
        const ownReading = rejection(ours.read());
        ours.write(text('never mind'));
        ours.reset(7);
        ours.reset(8);
        assert(isLeanError(await ownReading, 'ERR_STREAM_RESET'));
        assert.throws(() => ours.write(text('x')), withCode('ERR_STREAM_CLOSED'));
        let error = await reading.catch(() => undefined);
        // What was written before the reset may have come first.
        error ??= await rejection(theirs.read());
        assert(error instanceof StreamResetError, String(error));
        assert.equal(error.code, 'ERR_STREAM_RESET');
        if (options.resetCodes) assert.equal(error.resetCode, 7);
        const writing = async (): Promise<void> => {
          for (;;) {
            await writeAll(theirs, text('x'));
            await new Promise((go) => setImmediate(go));
          }
        };
        assert(isLeanError(await rejection(writing()), 'ERR_STREAM_STOPPED'));
        serve(accepted, echo);
        assertBytes(await exchange(dialed, text('others live')), 'others live');
      });
    }

    test(
      'stopSending() throws away what still comes and ends a writer without end',
      HANG,
      async (t) => {
        const { dialed, accepted } = await connect(t);
        const [opened, other] = await openPair(dialed, accepted);
        other.stopSending(1);
        let written = 0;
        const chunk = new Uint8Array(16_384);
        const writing = async (): Promise<void> => {
          for (;;) {
            await writeAll(opened, chunk);
            written += chunk.length;
            await new Promise((go) => setImmediate(go));
          }
        };
        assert(isLeanError(await rejection(writing()), 'ERR_STREAM_STOPPED'));
        assert(written < 16 * MIB, `${written} bytes were taken`);
      },
    );

    test('a peer that finishes after stopSending() is not disturbed', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      const [opened, other] = await openPair(dialed, accepted);
      other.stopSending();
      other.write(text('answer'));
      other.closeWrite();
      assertBytes(await readAll(opened), 'answer');
      opened.closeWrite();
    });

    test(
      'backpressure: a writer waits for a reader that waits, and nothing is lost',
      HANG,
      async (t) => {
        const { dialed, accepted } = await connect(t);
        const [opened, other] = await openPair(dialed, accepted);
        const chunk = randomBytes(32_768);
        let written = 0;
        let stuck = false;
        while (!stuck) {
          while (opened.write(chunk)) written += chunk.length;
          written += chunk.length;
          stuck = await staysPending(opened.drain());
          assert(written < 64 * MIB, 'the writer was never told to wait');
        }
        opened.closeWrite();
        const hash = createHash('sha256');
        for (let at = 0; at < written; at += chunk.length) hash.update(chunk);
        assert.equal(await hashAll(other), hash.digest('hex'));
      },
    );

    test('a stream that nobody reads leaves the others alone', HANG, async (t) => {
      if (!options.independent) {
        t.skip('this muxer has no flow control per stream');
        return;
      }
      const { dialed, accepted } = await connect(t);
      const [unread] = await openPair(dialed, accepted);
      while (!(await staysPending(unread.drain(), 50)))
        while (unread.write(new Uint8Array(32_768)));
      serve(accepted, echo);
      const message = randomBytes(3 * MIB);
      const stream = await dialed.openStream();
      const [, back] = await Promise.all([writeMuch(stream, message), hashAll(stream)]);
      assert.equal(back, sha256(message));
    });

    test('a small stream gets through beside a large one', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      serve(accepted, echo);
      const bulk = await dialed.openStream();
      let bulkEnded = false;
      const big = new Uint8Array(65_536);
      const writing = (async () => {
        while (!bulkEnded) await writeAll(bulk, big);
        bulk.closeWrite();
      })();
      const reading = hashAll(bulk);
      for (let i = 0; i < 20; i++) {
        assertBytes(await exchange(dialed, text(`small ${i}`)), `small ${i}`);
      }
      bulkEnded = true;
      await Promise.all([writing, reading]);
    });

    const concurrent = options.concurrent ?? 1_000;
    test(`${concurrent} streams at once, each with its own bytes`, HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      serve(accepted, echo);
      const run = async (): Promise<void> => {
        const stream = await dialed.openStream();
        const message = randomBytes(2_000);
        for (let at = 0; at < message.length; at += 500) {
          await writeAll(stream, message.subarray(at, at + 500));
          assertBytes(await readExactly(stream, 500), message.subarray(at, at + 500));
        }
        stream.closeWrite();
        assert.equal(await stream.read(), null);
      };
      await Promise.all(Array.from({ length: concurrent }, run));
      // And they are all forgotten: as many again fit.
      await Promise.all(Array.from({ length: concurrent }, run));
    });

    test('48 MiB each way at once, by their hashes', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      const [there, back] = [randomBytes(48 * MIB), randomBytes(48 * MIB)];
      const [opened, other] = await openPair(dialed, accepted);
      const [, , first, second] = await Promise.all([
        writeMuch(opened, there),
        writeMuch(other, back, 1_000_000),
        hashAll(other),
        hashAll(opened),
      ]);
      assert.equal(first, sha256(there));
      assert.equal(second, sha256(back));
    });

    test('20,000 writes of odd sizes, most of them tiny, arrive in order', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      const [opened, other] = await openPair(dialed, accepted);
      const all = randomBytes(400_000);
      let at = 0;
      for (let i = 0; i < 20_000; i++) {
        const size = i % 1000 === 0 ? 3_000 : (i * 7) % 23;
        await writeAll(opened, all.subarray(at, at + size));
        at += size;
        if (i % 100 === 0) await new Promise((go) => setImmediate(go));
      }
      opened.closeWrite();
      assert.equal(await hashAll(other), sha256(all.subarray(0, at)));
    });

    test(
      'streams are over, though nobody reads the end behind what was asked for',
      HANG,
      async (t) => {
        const { dialed, accepted } = await connect(t);
        serve(accepted, async (stream) => {
          await writeAll(stream, await readExactly(stream, 1));
          stream.closeWrite();
        });
        // More than a peer may have open at once, over every stack.
        for (let i = 0; i < 1_100; i++) {
          const stream = await dialed.openStream();
          stream.write(text('?'));
          stream.closeWrite();
          assertBytes(await readExactly(stream, 1), '?');
        }
      },
    );

    test('close() ends everything on both sides', HANG, async (t) => {
      const { dialed, accepted } = await connect(t);
      const [opened, other] = await openPair(dialed, accepted);
      const waits = [opened.read(), other.read()].map(rejection);
      const accepting = [dialed.acceptStream(), accepted.acceptStream()];
      await dialed.close();
      await dialed.close();
      for (const error of await Promise.all(waits)) {
        assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
      }
      assert.deepEqual(await Promise.all(accepting), [null, null]);
      assert.throws(() => opened.write(text('x')), withCode('ERR_CONNECTION_CLOSED'));
      assert.throws(() => other.write(text('x')), withCode('ERR_CONNECTION_CLOSED'));
      for (const connection of [dialed, accepted]) {
        const error = await rejection(connection.openStream());
        assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
        assert.equal(await connection.acceptStream(), null);
      }
      const [ours, theirs] = await Promise.all([dialed.closed, accepted.closed]);
      assert.deepEqual([ours.by, ours.code, theirs.by, theirs.code], ['local', 0, 'remote', 0]);
      opened.closeWrite();
      opened.reset();
      opened.stopSending();
    });

    test('a connection that is cut ends everything with an error', HANG, async (t) => {
      const { dialed, accepted, cut } = await connect(t);
      if (cut === undefined) {
        t.skip('the connection under these streams cannot be cut here');
        return;
      }
      const [opened, other] = await openPair(dialed, accepted);
      const waits = [opened.read(), other.read()].map(rejection);
      const [full] = await openPair(dialed, accepted);
      const fill = async (): Promise<void> => {
        for (;;) await writeAll(full, new Uint8Array(65_536));
      };
      const draining = rejection(fill());
      assert(await staysPending(draining));
      cut();
      for (const error of await Promise.all([...waits, draining])) {
        assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
      }
      for (const connection of [dialed, accepted]) {
        assert.notEqual((await connection.closed).by, 'local');
        assert.equal(await connection.acceptStream(), null);
      }
    });
  });
};
