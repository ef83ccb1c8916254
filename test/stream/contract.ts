/**
 * The contract of `Stream`, the table of src/stream.ts, as tests: every stack and every pair of QUIC
 * engines passes them, over real sockets, with the stream opened by either side.
 */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { CloseReason } from '../../src/close-reason.ts';
import { type ErrorCode, isLeanError } from '../../src/errors.ts';
import { readExactly, writeAll } from '../../src/stream/bytes.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';
import { readAll, rejection, staysPending } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** What `Connection`, `QuicConnection` and `Muxer` have in common. */
export interface StreamConnection {
  openStream(signal?: AbortSignal): Promise<Stream>;
  acceptStream(): Promise<Stream | null>;
  close(code?: number, reason?: string): Promise<void>;
  readonly closed: Promise<CloseReason>;
}

export interface ConnectionPair {
  readonly dialed: StreamConnection;
  readonly accepted: StreamConnection;
}

export interface StreamContract {
  /** A new connection, to be closed when the test ends. */
  readonly connect: (t: TestContext) => Promise<ConnectionPair>;
  /** Whether a reset's code reaches the peer, and that of `stopSending()`. */
  readonly resetCodes: boolean;
  readonly stopCodes: boolean;
}

const HANG = { timeout: 30_000 };
/** Milliseconds. */
const FIN_PATIENCE = 5;
const CHUNK = new Uint8Array(32_768);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const shown = (chunk: Uint8Array | null): string | null =>
  chunk === null ? null : Buffer.from(chunk).toString();

const thrown = (act: () => unknown): unknown => {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('should have thrown');
};

const assertCode = (error: unknown, code: ErrorCode): void =>
  assert.ok(isLeanError(error, code), `${code} expected: ${error}`);

/** Writes without ever waiting until the stream says to wait, and goes on saying so. */
const fill = async (stream: Stream): Promise<void> => {
  do {
    while (stream.write(CHUNK));
  } while (!(await staysPending(stream.drain(), 50)));
};

/** What `write()` throws once the peer's word has come. */
const refusal = async (stream: Stream): Promise<unknown> => {
  for (;;) {
    try {
      if (!stream.write(CHUNK)) await stream.drain();
    } catch (error) {
      return error;
    }
    await new Promise((go) => setImmediate(go));
  }
};

/** What reading ends with; what came before it is skipped. */
const readingEnds = async (stream: Stream): Promise<unknown> => {
  try {
    while ((await stream.read()) !== null);
  } catch (error) {
    return error;
  }
  throw new Error('should not have come to its end');
};

export const streamContract = (name: string, contract: StreamContract): void => {
  const { connect } = contract;

  const assertRemote = (error: unknown, code: ErrorCode, resetCode: number | undefined): void => {
    assertCode(error, code);
    assert.ok(error instanceof StreamResetError);
    assert.equal(error.by, 'remote');
    if (resetCode !== undefined) assert.equal(error.resetCode, resetCode);
  };
  const assertReset = (error: unknown, code: ErrorCode, resetCode: number): void =>
    assertRemote(error, code, contract.resetCodes ? resetCode : undefined);
  const assertStopped = (error: unknown, resetCode: number): void =>
    assertRemote(error, 'ERR_STREAM_STOPPED', contract.stopCodes ? resetCode : undefined);

  interface Both {
    readonly ours: Stream;
    readonly theirs: Stream;
    readonly ourConnection: StreamConnection;
    readonly theirConnection: StreamConnection;
    /** Resolves when all that was written on `theirs` before is here, and the other way round. */
    readonly settle: () => Promise<void>;
  }

  /** Runs `body` with a stream that we opened, and with one that the peer opened. */
  const either = (title: string, body: (both: Both, t: TestContext) => Promise<void>): void => {
    for (const opener of ['we', 'the peer'] as const) {
      test(`${title} (${opener} opened it)`, HANG, async (t) => {
        const { dialed, accepted } = await connect(t);
        const open = async (): Promise<[ours: Stream, theirs: Stream]> => {
          const [from, to] = opener === 'we' ? [dialed, accepted] : [accepted, dialed];
          const opened = await from.openStream();
          opened.write(text('!'));
          const other = await to.acceptStream();
          assert.ok(other !== null);
          assert.equal(shown(await readExactly(other, 1)), '!');
          return opener === 'we' ? [opened, other] : [other, opened];
        };
        const [ours, theirs] = await open();
        const [near, far] = await open();
        const exchange = async (): Promise<void> => {
          near.write(text('n'));
          await readExactly(far, 1);
          far.write(text('f'));
          await readExactly(near, 1);
        };
        const settle = async (): Promise<void> => {
          await exchange();
          // A FIN may wait while others send (src/quic/node/fin-gate.ts), but after PATIENCE they wait for it.
          await delay(2 * FIN_PATIENCE);
          await exchange();
          // A chunk may be on its way through microtasks and one turn still.
          await new Promise((go) => setImmediate(go));
        };
        await body({ ours, theirs, ourConnection: dialed, theirConnection: accepted, settle }, t);
      });
    }
  };

  /** `closeWrite()`, `stopSending()`, `reset()` and `unread()` never throw. */
  const assertCalm = (stream: Stream): void => {
    stream.closeWrite();
    stream.stopSending(1);
    stream.unread(text('late'));
    stream.reset(2);
    stream.closeWrite();
    stream.reset();
    stream.stopSending();
  };

  describe(`${name}: the contract of a stream`, SUITE, () => {
    // ---------------------------------------------------------------- open

    either('read() waits for a chunk; write() takes one', async ({ ours, theirs }) => {
      const reading = ours.read();
      assert.ok(await staysPending(reading, 20));
      assert.equal(theirs.write(text('chunk')), true);
      assert.equal(shown(await reading), 'chunk');
      assert.equal(typeof theirs.write(new Uint8Array()), 'boolean', 'nothing can be written');
      theirs.write(text('.'));
      assert.equal(shown(await ours.read()), '.', 'and is not read');
    });

    either('read(into) may read into the memory given', async ({ ours, theirs }) => {
      const into = new Uint8Array(4);
      const reading = ours.read(into);
      theirs.write(text('0123456789'));
      theirs.closeWrite();
      let got = shown(await reading) ?? '';
      for (;;) {
        const chunk = await ours.read(into);
        if (chunk === null) break;
        got += shown(chunk);
      }
      assert.equal(got, '0123456789');
    });

    either('of two reads at once the second is refused', async ({ ours, theirs }) => {
      const first = ours.read();
      assertCode(await rejection(ours.read()), 'ERR_CONCURRENT_READ');
      theirs.write(text('one'));
      assert.equal(shown(await first), 'one');
      theirs.write(text('two'));
      assert.equal(shown(await ours.read()), 'two');
    });

    either('several drains at once all resolve', async ({ ours, theirs }) => {
      await fill(ours);
      const drains = [ours.drain(), ours.drain(), ours.drain()];
      ours.closeWrite();
      await Promise.all([...drains, readAll(theirs)]);
    });

    either('unread() comes first, the last put back before the others', async (both) => {
      const { ours, theirs } = both;
      theirs.write(text('rest'));
      theirs.closeWrite();
      ours.unread(text('b'));
      ours.unread(text('a'));
      ours.unread(new Uint8Array());
      assert.equal(shown(await ours.read()), 'a');
      assert.equal(shown(await ours.read()), 'b');
      assert.equal((await readAll(ours)).toString(), 'rest');
      ours.unread(text('late'));
      assert.equal(shown(await ours.read()), 'late', 'also after the end');
      assert.equal(await ours.read(), null);
    });

    // ---------------------------------------------------------------- the peer's doing

    either('the peer finished: what came, then null for ever', async ({ ours, theirs, settle }) => {
      theirs.write(text('last words'));
      theirs.closeWrite();
      await settle();
      assert.equal((await readAll(ours)).toString(), 'last words');
      assert.equal(await ours.read(), null);
      ours.stopSending(3);
      assert.equal(await ours.read(), null, 'there was nothing left to stop');
      assert.equal(ours.write(text('still')), true);
      await ours.drain();
      ours.closeWrite();
      assert.equal((await readAll(theirs)).toString(), 'still');
    });

    either('the peer reset: a waiting read, later ones, writes', async ({ ours, theirs }) => {
      const reading = rejection(ours.read());
      theirs.reset(5);
      assertReset(await reading, 'ERR_STREAM_RESET', 5);
      assertReset(await rejection(ours.read()), 'ERR_STREAM_RESET', 5);
      assertReset(await refusal(ours), 'ERR_STREAM_STOPPED', 5);
      assertReset(
        thrown(() => ours.write(text('x'))),
        'ERR_STREAM_STOPPED',
        5,
      );
      assertReset(await rejection(ours.drain()), 'ERR_STREAM_STOPPED', 5);
      assertCalm(ours);
      assertReset(await rejection(ours.read()), 'ERR_STREAM_RESET', 5);
    });

    either('the peer reset: a waiting drain', async ({ ours, theirs }) => {
      await fill(ours);
      // It may have room once more before, and waits again.
      const draining = refusal(ours);
      theirs.reset(0x1234);
      assertReset(await draining, 'ERR_STREAM_STOPPED', 0x1234);
      assertReset(await readingEnds(ours), 'ERR_STREAM_RESET', 0x1234);
    });

    either('the peer reset after we had finished', async ({ ours, theirs }) => {
      ours.closeWrite();
      assert.equal(await theirs.read(), null);
      theirs.reset(9);
      assertReset(await readingEnds(ours), 'ERR_STREAM_RESET', 9);
    });

    either('the peer stopped reading', async ({ ours, theirs }) => {
      await fill(ours);
      theirs.stopSending(6);
      theirs.stopSending(7);
      assertStopped(await refusal(ours), 6);
      assertStopped(await rejection(ours.drain()), 6);
      assertCalm(ours);
    });

    // ---------------------------------------------------------------- our doing

    either('our stopSending(): reads are over, writes go on', async ({ ours, theirs, settle }) => {
      theirs.write(text('unread'));
      await settle();
      ours.unread(text('put back'));
      ours.stopSending(1);
      ours.stopSending(2);
      assertCode(await rejection(ours.read()), 'ERR_STREAM_CLOSED');
      ours.unread(text('dropped'));
      assertCode(await rejection(ours.read()), 'ERR_STREAM_CLOSED');
      await writeAll(ours, text('goes on'));
      await ours.drain();
      ours.closeWrite();
      assert.equal((await readAll(theirs)).toString(), 'goes on');
    });

    either('our stopSending(): a waiting read', async ({ ours }) => {
      const reading = rejection(ours.read());
      ours.stopSending();
      assertCode(await reading, 'ERR_STREAM_CLOSED');
    });

    either('our closeWrite(): what is queued still leaves', async ({ ours, theirs }) => {
      await fill(ours);
      const waiting = ours.drain();
      ours.closeWrite();
      ours.closeWrite();
      assertCode(
        thrown(() => ours.write(text('x'))),
        'ERR_STREAM_CLOSED',
      );
      const later = ours.drain();
      await Promise.all([waiting, later, readAll(theirs)]);
      await ours.drain();
      theirs.write(text('answer'));
      theirs.closeWrite();
      assert.equal((await readAll(ours)).toString(), 'answer');
    });

    either('our reset(): everything ends at once', async ({ ours, theirs, settle }) => {
      theirs.write(text('unread'));
      await settle();
      await fill(ours);
      const draining = rejection(ours.drain());
      ours.reset(5);
      ours.reset(6);
      for (const error of [await rejection(ours.read()), await rejection(ours.read())]) {
        assertCode(error, 'ERR_STREAM_RESET');
        assert.ok(error instanceof StreamResetError);
        assert.deepEqual([error.by, error.resetCode], ['local', 5]);
      }
      assertCode(await draining, 'ERR_STREAM_CLOSED');
      assertCode(
        thrown(() => ours.write(text('x'))),
        'ERR_STREAM_CLOSED',
      );
      assertCode(await rejection(ours.drain()), 'ERR_STREAM_CLOSED');
      assertCalm(ours);
      assertReset(await readingEnds(theirs), 'ERR_STREAM_RESET', 5);
    });

    either('our reset(): a waiting read', async ({ ours }) => {
      const reading = rejection(ours.read());
      ours.reset(8);
      const error = await reading;
      assertCode(error, 'ERR_STREAM_RESET');
      assert.ok(error instanceof StreamResetError && error.by === 'local');
      assert.equal(error.resetCode, 8);
    });

    // ---------------------------------------------------------------- the end of the connection

    for (const closer of ['our', 'the peer’s'] as const) {
      const close = ({ ourConnection, theirConnection }: Both): Promise<void> =>
        (closer === 'our' ? ourConnection : theirConnection).close();

      either(`${closer} close(): waiting calls, and later ones`, async (both) => {
        const { ours, ourConnection } = both;
        await fill(ours);
        // What the peer acknowledges with its last packets makes room once more: they wait again.
        const waiting = [rejection(ours.read()), refusal(ours), refusal(ours)];
        await close(both);
        await ourConnection.closed;
        for (const error of await Promise.all(waiting)) assertCode(error, 'ERR_CONNECTION_CLOSED');
        assertCode(
          thrown(() => ours.write(text('x'))),
          'ERR_CONNECTION_CLOSED',
        );
        assertCode(await rejection(ours.drain()), 'ERR_CONNECTION_CLOSED');
        assertCode(await rejection(ours.read()), 'ERR_CONNECTION_CLOSED');
        assertCode(await rejection(ourConnection.openStream()), 'ERR_CONNECTION_CLOSED');
        assertCalm(ours);
      });

      either(`${closer} close(): what had come can be read, then it fails`, async (both) => {
        const { ours, theirs, ourConnection, settle } = both;
        theirs.write(text('had come'));
        await settle();
        await close(both);
        await ourConnection.closed;
        assert.equal(shown(await readExactly(ours, 8)), 'had come');
        assertCode(await rejection(ours.read()), 'ERR_CONNECTION_CLOSED');
        assertCode(await rejection(ours.read()), 'ERR_CONNECTION_CLOSED');
      });

      either(`${closer} close(): what had come and was finished ends with null`, async (both) => {
        const { ours, theirs, ourConnection, settle } = both;
        theirs.write(text('all of it'));
        theirs.closeWrite();
        await settle();
        await close(both);
        await ourConnection.closed;
        assert.equal((await readAll(ours)).toString(), 'all of it');
        assert.equal(await ours.read(), null);
      });

      either(`${closer} close(): a stream that was over stays as it was`, async (both) => {
        const { ours, theirs, ourConnection } = both;
        ours.closeWrite();
        theirs.closeWrite();
        assert.equal(await ours.read(), null);
        assert.equal(await theirs.read(), null);
        await close(both);
        await ourConnection.closed;
        assert.equal(await ours.read(), null);
        assertCalm(ours);
      });
    }

    // ---------------------------------------------------------------- signals

    either('read(): an abort leaves the stream as it was', async ({ ours, theirs, settle }) => {
      const abort = new AbortController();
      const reading = rejection(ours.read(undefined, abort.signal));
      const why = new Error('changed my mind');
      abort.abort(why);
      const error = await reading;
      assertCode(error, 'ERR_ABORTED');
      assert.equal((error as Error).cause, why);
      theirs.write(text('not lost'));
      await settle();
      assertCode(await rejection(ours.read(undefined, abort.signal)), 'ERR_ABORTED');
      const later = new AbortController();
      assert.equal(shown(await ours.read(undefined, later.signal)), 'not lost');
      const waiting = ours.read(undefined, later.signal);
      theirs.write(text('nor this'));
      assert.equal(shown(await waiting), 'nor this');
      assert.equal(getEventListeners(later.signal, 'abort').length, 0);
      theirs.closeWrite();
      assert.equal(await ours.read(undefined, later.signal), null);
      later.abort();
    });

    either('drain(): an abort leaves the stream as it was', async ({ ours, theirs }) => {
      await fill(ours);
      const abort = new AbortController();
      const aborted = rejection(ours.drain(abort.signal));
      const other = ours.drain();
      abort.abort();
      assertCode(await aborted, 'ERR_ABORTED');
      assertCode(await rejection(ours.drain(abort.signal)), 'ERR_ABORTED');
      const later = new AbortController();
      const third = ours.drain(later.signal);
      ours.closeWrite();
      await Promise.all([other, third, readAll(theirs)]);
      assert.equal(getEventListeners(later.signal, 'abort').length, 0);
    });

    either('openStream(): an aborted signal', async ({ ourConnection }) => {
      const why = new Error('too late');
      const error = await rejection(ourConnection.openStream(AbortSignal.abort(why)));
      assertCode(error, 'ERR_ABORTED');
      assert.equal((error as Error).cause, why);
    });

    // ---------------------------------------------------------------- iteration

    either('for await reads to the end', async ({ ours, theirs }) => {
      theirs.write(text('abc'));
      theirs.closeWrite();
      let got = '';
      for await (const chunk of ours) got += shown(chunk);
      assert.equal(got, 'abc');
      ours.write(text('after'));
      ours.closeWrite();
      assert.equal((await readAll(theirs)).toString(), 'after');
    });

    either('for await: leaving early stops the peer', async ({ ours, theirs }) => {
      theirs.write(text('first'));
      for await (const chunk of ours) {
        assert.equal(shown(chunk), 'first');
        break;
      }
      assertCode(await rejection(ours.read()), 'ERR_STREAM_CLOSED');
      assertStopped(await refusal(theirs), 0);
    });

    either('for await throws what read() throws', async ({ ours, theirs }) => {
      theirs.reset(4);
      const reading = async (): Promise<void> => {
        for await (const _ of ours);
      };
      assertReset(await rejection(reading()), 'ERR_STREAM_RESET', 4);
    });
  });
};
