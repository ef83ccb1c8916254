/** An event loop that was late: connections have timed out meanwhile, and nobody has been told yet. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { isLeanError } from '../../src/errors.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { enginesHere } from '../support/engines.ts';
import { longEnough } from '../support/long-enough.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { loopbackPair } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** Idle timeouts, for machines that are ever busier; milliseconds. */
const IDLE = [200, 1_000, 4_000] as const;
/** node:quic looks at the clock itself once three times the idle timeout have passed. */
const STALL = 5;

const credentials = await issueTestCredentials('late');
const options = { credentials, authenticate: () => {} };

const stall = (time: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, time);
};

const nextStream = async (connection: QuicConnection): Promise<Stream> => {
  const stream = await connection.acceptStream();
  assert.ok(stream !== null);
  return stream;
};

/** A turn of the event loop in which no packet comes in before the code that waits for it has run. */
const turnOfTimers = (): Promise<void> => delay(1);

/** What was written has been handed to the engine; in the same turn of the event loop. */
const afterFlush = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise<void>((resolve) => process.nextTick(resolve));
};

for (const name of await enginesHere(['dialer', 'listener'])) {
  describe(`${name}: an event loop that was late`, SUITE, () => {
    it('opens no stream that lasts, and nothing is thrown behind its caller', async (t) => {
      const { engine } = await selectEngine(name, 'listener');
      const ends = await longEnough(IDLE, async (idleTimeout) => {
        const limits = { idleTimeout };
        const pair = await loopbackPair(
          t,
          { dialer: engine, listener: engine },
          { ...options, limits },
        );
        const both = [pair.dialed, pair.accepted];
        // Packets that await acknowledgement, so that timers are due.
        for (const end of both) (await end.openStream()).write(Buffer.alloc(20_000));
        stall(STALL * idleTimeout);
        return both;
      });
      const opened = ends.map(async (end) => {
        const stream = await end.openStream();
        stream.write(Buffer.from('too late'));
        while ((await stream.read()) !== null);
      });
      // Which of the two notices first, and whether by its clock or by the other's close, is open.
      for (const result of await Promise.allSettled(opened)) {
        assert.equal(result.status, 'rejected');
        assert.ok(isLeanError(result.reason, 'ERR_CONNECTION_CLOSED'), String(result.reason));
      }
      await Promise.all(ends.map((end) => end.closed));
    });

    it('writes to streams that nobody knows to be over, and survives', async (t) => {
      const { engine } = await selectEngine(name, 'listener');
      const ends = await longEnough(IDLE, async (idleTimeout) => {
        const limits = { idleTimeout };
        const { dialed, accepted } = await loopbackPair(
          t,
          { dialer: engine, listener: engine },
          { ...options, limits },
        );
        const both = [dialed, accepted];
        const streams = await Promise.all(both.map((end) => end.openStream()));
        for (const stream of streams) stream.write(Buffer.alloc(20_000));
        // All of it has arrived, so what comes next leaves at once: the last that either does before it is late.
        for (const end of both.toReversed()) await readExactly(await nextStream(end), 20_000);
        await turnOfTimers();
        for (const stream of streams) stream.write(Buffer.alloc(1_000));
        await afterFlush();
        stall(STALL * idleTimeout);
        for (const stream of streams) stream.write(Buffer.from('too late'));
        await afterFlush();
        return both;
      });
      await Promise.all(ends.map((end) => end.closed));
    });
  });
}
