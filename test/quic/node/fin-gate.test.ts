import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FinGate, type FinStream, finGate } from '../../../src/quic/node/fin-gate.ts';
import { type FakeClock, fakeClock } from '../../support/fake-clock.ts';

/** Round trip of 10 ms, a window of 100,000 bytes: a packet of 1,200 takes 0.096 ms of pacing. */
const freshStats = () => ({
  minRtt: 10_000_000n,
  smoothedRtt: 10_000_000n,
  bytesSent: 0n,
  bytesInFlight: 0n,
  cwnd: 100_000n,
  pktLost: 0n,
  handshakeConfirmedAt: 1n,
});

interface TestStream extends FinStream {
  allSent: boolean;
  fins: number;
}

const streamWith = (allSent: boolean): TestStream => ({
  allSent,
  fins: 0,
  sendFin() {
    this.fins++;
  },
});

interface Setup {
  readonly gate: FinGate;
  readonly stats: ReturnType<typeof freshStats>;
  readonly clock: FakeClock;
  /** `bytes` leave as packets. */
  readonly sent: (bytes: bigint) => void;
  readonly resumed: () => number;
}

const setup = (): Setup => {
  const stats = freshStats();
  const clock = fakeClock();
  let count = 0;
  const gate = finGate(stats, () => count++, clock);
  const sent = (bytes: bigint): void => {
    stats.bytesSent += bytes;
    stats.bytesInFlight += bytes;
  };
  return { gate, stats, clock, sent, resumed: () => count };
};

test('a FIN leaves at once when nothing is in its way', () => {
  const { gate, clock } = setup();
  const stream = streamWith(true);
  gate.schedule(stream);
  assert.equal(stream.fins, 1);
  clock.advance(5_000);
  assert.equal(stream.fins, 1, 'and only once');
  assert.equal(clock.waiting(), 0);
});

test('it waits for the data of its own stream', () => {
  const { gate, clock } = setup();
  const stream = streamWith(false);
  gate.wrote(stream);
  gate.schedule(stream);
  clock.advance(200);
  assert.equal(stream.fins, 0);
  stream.allSent = true;
  clock.advance(5);
  assert.equal(stream.fins, 1);
  assert.equal(clock.waiting(), 0);
});

test('it waits for room in the congestion window', () => {
  const { gate, stats, clock, sent } = setup();
  const stream = streamWith(true);
  sent(98_000n);
  gate.schedule(stream);
  clock.advance(80);
  assert.equal(stream.fins, 0);
  stats.bytesInFlight = 10_000n;
  clock.advance(5);
  assert.equal(stream.fins, 1);
});

test('it waits until the pacing interval is over', () => {
  const { gate, clock, sent } = setup();
  const stream = streamWith(true);
  gate.wrote(stream);
  // Half a window: 0.8 × 10 ms / 2.
  sent(50_000n);
  gate.schedule(stream);
  clock.advance(3.9);
  assert.equal(stream.fins, 0);
  clock.advance(1.2);
  assert.equal(stream.fins, 1);
});

test('after a loss it waits until nothing has been on its way for a while', () => {
  const { gate, stats, clock, sent } = setup();
  const stream = streamWith(true);
  sent(1_200n);
  stats.pktLost = 1n;
  gate.schedule(stream);
  clock.advance(60);
  assert.equal(stream.fins, 0);
  stats.bytesInFlight = 0n;
  // Three round trips.
  clock.advance(25);
  assert.equal(stream.fins, 0);
  clock.advance(10);
  assert.equal(stream.fins, 1);
});

test('writes of other streams are held back for a FIN that has waited, and go on after it', () => {
  const { gate, clock, sent, resumed } = setup();
  const [ended, busy] = [streamWith(true), streamWith(false)];
  gate.wrote(busy);
  sent(1_200n);
  gate.schedule(ended);
  clock.advance(4);
  assert.equal(gate.paused, false);
  clock.advance(3);
  assert.equal(gate.paused, true);
  assert.equal(ended.fins, 0);
  assert.equal(resumed(), 0);
  busy.allSent = true;
  clock.advance(3);
  assert.equal(ended.fins, 1);
  assert.equal(gate.paused, false);
  assert.equal(resumed(), 1);
});

test('in the end it leaves whatever is in its way', () => {
  const { gate, stats, clock } = setup();
  const stream = streamWith(true);
  stats.bytesInFlight = 99_000n;
  gate.schedule(stream);
  clock.advance(9_990);
  assert.equal(stream.fins, 0);
  clock.advance(20);
  assert.equal(stream.fins, 1);
});

test('nothing comes between data and a FIN that were handed over together', () => {
  const { gate, clock, resumed } = setup();
  const stream = streamWith(false);
  assert.equal(gate.takesWhole, true);
  gate.wroteWhole(stream);
  assert.equal(gate.paused, true);
  const other = streamWith(true);
  gate.schedule(other);
  clock.advance(4);
  assert.equal(other.fins, 0);
  stream.allSent = true;
  assert.equal(gate.paused, false);
  clock.advance(5);
  assert.equal(other.fins, 1);
  assert.equal(resumed(), 1);
});

test('with unsent data of another stream, or after a loss, nothing is handed over whole', () => {
  const { gate, stats, clock } = setup();
  const busy = streamWith(false);
  gate.wrote(busy);
  assert.equal(gate.takesWhole, false);
  busy.allSent = true;
  assert.equal(gate.takesWhole, true);
  stats.pktLost = 1n;
  assert.equal(gate.takesWhole, false);
  clock.advance(499);
  assert.equal(gate.takesWhole, false);
  clock.advance(2);
  assert.equal(gate.takesWhole, true);
});

test('stop() leaves nothing behind', () => {
  const { gate, clock } = setup();
  const [waiting, whole] = [streamWith(false), streamWith(false)];
  gate.schedule(waiting);
  gate.wroteWhole(whole);
  gate.stop();
  assert.equal(clock.waiting(), 0);
  assert.equal(gate.paused, false);
  waiting.allSent = true;
  clock.advance(3_000);
  assert.equal(waiting.fins, 0);
});
