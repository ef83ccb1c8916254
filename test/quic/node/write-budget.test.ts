import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FIRST_BUDGET, writeBudget } from '../../../src/quic/node/write-budget.ts';
import { RUNTIME } from '../../../src/runtime.ts';

const skip = !RUNTIME.quicLosesPackets && 'not on Bun';

/** Of a path with this round trip; nanoseconds. */
const budgetAt = (minRtt: bigint) =>
  writeBudget({
    minRtt,
    smoothedRtt: minRtt,
    bytesSent: 0n,
    bytesInFlight: 0n,
    cwnd: 0n,
    pktLost: 0n,
    handshakeConfirmedAt: 1n,
  });

/** No bound on what may be unsent. */
const ANY = Number.POSITIVE_INFINITY;

test('the budget of node:quic', { skip }, async (t) => {
  const shareOf = (minRtt: bigint): number => {
    const stream = { budget: FIRST_BUDGET };
    budgetAt(minRtt).share(stream, ANY);
    return stream.budget;
  };

  await t.test('is at most 54 + 40 packets of 1200 bytes where nothing paces', () => {
    const overhead = 1 + 20 + 4 + 16 + 12;
    assert.ok(FIRST_BUDGET <= 94 * (1200 - overhead));
    assert.equal(shareOf(50_000n), FIRST_BUDGET);
    assert.equal(shareOf(0n), FIRST_BUDGET);
  });

  await t.test('grows with the round trip, up to 4 MiB', () => {
    assert.equal(shareOf(10_000_000n), 10 * FIRST_BUDGET);
    assert.equal(shareOf(100_000_000n), 4 << 20);
    // No sample yet.
    assert.equal(shareOf(2n ** 64n - 1n), 4 << 20);
  });

  await t.test('is shared by the streams that wait, and comes back', () => {
    const budget = budgetAt(8_000_000n);
    const [one, other] = [{ budget: 0 }, { budget: 0 }];
    budget.full(one);
    budget.share(other, ANY);
    assert.equal(other.budget, 4 * FIRST_BUDGET);
    budget.full(other);
    budget.share(one, ANY);
    assert.equal(one.budget, 4 * FIRST_BUDGET);
    budget.drained(other);
    budget.share(one, ANY);
    assert.equal(one.budget, 8 * FIRST_BUDGET);
  });

  await t.test('is no more than the memory that is left', () => {
    const stream = { budget: FIRST_BUDGET };
    budgetAt(10_000_000n).share(stream, 100_000);
    assert.equal(stream.budget, 100_000);
    budgetAt(10_000_000n).share(stream, -1);
    assert.equal(stream.budget, 32 * 1024);
  });

  await t.test('leaves a stream 32 KiB, however many there are', () => {
    const budget = budgetAt(0n);
    for (let i = 0; i < 100; i++) budget.full({});
    const stream = { budget: FIRST_BUDGET };
    budget.share(stream, ANY);
    assert.equal(stream.budget, 32 * 1024);
  });
});
