import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { CONDITIONS, type Condition } from '../../../interop/network/conditions.ts';
import { type Direction, fatesOf } from '../../../interop/network/fate.ts';
import { startUdpRelay } from '../../../interop/network/udp-relay.ts';

const HANG = { timeout: 60_000 };
/** Few enough for any socket to keep them until they are read. */
const PACKETS = 60;
const HOST = '127.0.0.1';

const named = (name: string): Condition => {
  const condition = CONDITIONS.find((one) => one.name === name);
  assert(condition !== undefined);
  return condition;
};

/** The fates of 2,000 packets each way, in two orders of the directions. */
const fatesIn = (condition: Condition, seed: number, order: readonly Direction[]): string[][] => {
  const fates = fatesOf(condition, seed, 28);
  const seen: string[][] = [[], []];
  for (let number = 0; number < 2_000; number++) {
    for (const direction of order) {
      seen[direction]?.push(JSON.stringify(fates(direction, 1_200, 10 * number)));
    }
  }
  return seen;
};

for (const { name } of CONDITIONS) {
  test(`${name}: the same seed does the same to the same packets`, () => {
    const condition = named(name);
    assert.deepEqual(fatesIn(condition, 7, [0, 1]), fatesIn(condition, 7, [0, 1]));
    // How the directions take turns decides when a blackhole begins for the other one, but nothing else.
    if (condition.blackhole !== undefined) return;
    assert.deepEqual(fatesIn(condition, 7, [0, 1]), fatesIn(condition, 7, [1, 0]));
    const chance =
      condition.loss ?? condition.corruption ?? condition.duplication ?? condition.reordering;
    if (chance === undefined) return;
    const [there = [], back = []] = fatesIn(condition, 7, [0, 1]);
    assert.notDeepEqual(there, back);
    assert.notDeepEqual(fatesIn(condition, 8, [0, 1]), [there, back]);
    const usual = JSON.stringify({ copies: 1, delay: condition.delay });
    for (const fates of [there, back]) {
      const hit = fates.map((fate) => fate !== usual);
      const share = hit.filter((one) => one).length / hit.length;
      // A burst that is cut short makes it a little less.
      assert(share > chance.rate * 0.85 && share < chance.rate * 1.15, `${share}`);
      const longest = Math.max(
        ...hit
          .map((one) => (one ? 'x' : ' '))
          .join('')
          .split(' ')
          .map((row) => row.length),
      );
      assert(longest <= chance.burst);
      assert(longest > 1);
    }
  });
}

/** A relay before a socket that notes what it gets and answers with the same. */
const startEcho = async (t: TestContext, condition: Condition, seed = 1) => {
  const listener = createSocket('udp4').bind(0, HOST);
  const dialer = createSocket('udp4').bind(0, HOST);
  t.after(() => {
    listener.close();
    dialer.close();
  });
  await Promise.all([once(listener, 'listening'), once(dialer, 'listening')]);
  const heard: { readonly packet: Buffer; readonly from: RemoteInfo }[] = [];
  listener.on('message', (packet, from) => {
    heard.push({ packet, from });
    listener.send(packet, from.port, from.address);
  });
  const target = { host: HOST, port: listener.address().port };
  const relay = await startUdpRelay({ target, condition, seed, overhead: 28 });
  t.after(() => relay.close());
  const answers: Buffer[] = [];
  dialer.on('message', (packet) => answers.push(packet));
  return {
    heard,
    answers,
    relay,
    send: (packet: Buffer) => dialer.send(packet, relay.address.port, relay.address.host),
    answer: () => once(dialer, 'message'),
  };
};

/** Like a QUIC packet with a long header, or a short one. */
const packetOf = (number: number, { long = true, length = 1_200 } = {}): Buffer => {
  const packet = Buffer.alloc(length);
  packet[0] = long ? 0xc0 : 0x40;
  packet.writeUInt32BE(number, 1);
  return packet;
};

const numbersOf = (packets: readonly Buffer[]): number[] =>
  packets.map((packet) => packet.readUInt32BE(1));

/** Sends packets until `last` has come back, which nothing happens to when it is the last. */
const exchange = async (
  t: TestContext,
  condition: Condition,
  seed: number,
): Promise<{ readonly heard: number[]; readonly lost: readonly number[] }> => {
  const { heard, send, relay } = await startEcho(t, condition, seed);
  for (let number = 1; number <= PACKETS; number++) send(packetOf(number));
  for (;;) {
    const { packets, lost } = await relay.stats();
    if (
      packets[0] === PACKETS &&
      packets[1] === heard.length &&
      heard.length === PACKETS - lost[0]
    ) {
      return { heard: numbersOf(heard.map(({ packet }) => packet)), lost };
    }
  }
};

test('a relay loses the packets that the seed says, in both directions', HANG, async (t) => {
  const condition = named('loss20');
  const [first, again, other] = await Promise.all(
    [3, 3, 4].map((seed) => exchange(t, condition, seed)),
  );
  assert.deepEqual(first, again);
  assert.notDeepEqual(first?.heard, other?.heard);
  const fates = fatesOf(condition, 3, 28);
  const expected = Array.from({ length: PACKETS }, (_, place) => place + 1).filter(
    () => fates(0, 1_200, 0).copies > 0,
  );
  assert.deepEqual(first?.heard, expected);
  assert((first?.lost[1] ?? 0) > 0);
});

test('it delays, each way', HANG, async (t) => {
  const { send, answer, heard } = await startEcho(t, { ...named('clean'), delay: 200 });
  const sent = performance.now();
  send(packetOf(1));
  await answer();
  assert(performance.now() - sent >= 399);
  assert.equal(heard.length, 1);
});

test('it corrupts one byte', HANG, async (t) => {
  const corruption = { rate: 1, burst: Number.POSITIVE_INFINITY };
  const { send, answer, heard } = await startEcho(t, { ...named('clean'), corruption });
  send(packetOf(1));
  await answer();
  const [{ packet } = { packet: Buffer.alloc(0) }] = heard;
  const original = packetOf(1);
  assert.equal(packet.length, original.length);
  assert.equal(packet.filter((byte, place) => byte !== original[place]).length, 1);
});

test('it sends packets twice', HANG, async (t) => {
  const duplication = { rate: 1, burst: Number.POSITIVE_INFINITY };
  const { send, answer, heard, answers } = await startEcho(t, { ...named('clean'), duplication });
  send(packetOf(1));
  while (answers.length < 4) await answer();
  assert.deepEqual(numbersOf(heard.map(({ packet }) => packet)), [1, 1]);
});

test('it reorders', HANG, async (t) => {
  const condition = named('reordering');
  const { send, answer, heard, answers } = await startEcho(t, condition);
  for (let number = 1; number <= 20; number++) send(packetOf(number));
  while (answers.length < 20) await answer();
  const numbers = numbersOf(heard.map(({ packet }) => packet));
  assert.notDeepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(numbers).size, 20);
});

test('it loses what is longer than the path allows', HANG, async (t) => {
  const { send, answer, heard } = await startEcho(t, named('mtu1280'));
  send(packetOf(1, { length: 1_253 }));
  send(packetOf(2, { length: 1_252 }));
  await answer();
  assert.deepEqual(numbersOf(heard.map(({ packet }) => packet)), [2]);
});

test('it loses everything for a while', HANG, async (t) => {
  const { send, answer, heard, relay } = await startEcho(t, named('blackhole'));
  send(packetOf(1));
  await answer();
  const again = setInterval(() => send(packetOf(2)), 100);
  const began = performance.now();
  // Before the end of the test, which closes the socket.
  await answer().finally(() => clearInterval(again));
  assert(performance.now() - began > 1_900);
  assert((await relay.stats()).lost[0] >= 2);
  assert(heard.length >= 2);
});

for (const name of ['rebind-port', 'rebind-addr']) {
  test(`${name}: with the first short header the dialer is somewhere else`, HANG, async (t) => {
    const { send, answer, heard, relay } = await startEcho(t, named(name));
    for (const [number, long] of [true, true, false, true, false].entries()) {
      send(packetOf(number, { long }));
      await answer();
    }
    const places = heard.map(({ from }) => `${from.address} ${from.port}`);
    const [first, , third] = places;
    assert.deepEqual(places, [first, first, third, third, third]);
    assert.notEqual(first, third);
    const addresses = new Set(heard.map(({ from }) => from.address));
    assert.equal(addresses.size, name === 'rebind-port' ? 1 : 2);
    assert.equal((await relay.stats()).rebindings, 1);
  });
}

test(
  'amplificationlimit: the dialer is heard once, and then not for six packets',
  HANG,
  async (t) => {
    const { send, answer, heard } = await startEcho(t, named('amplificationlimit'));
    for (let number = 1; number <= 8; number++) send(packetOf(number));
    await answer();
    await answer();
    assert.deepEqual(numbersOf(heard.map(({ packet }) => packet)), [1, 8]);
  },
);
