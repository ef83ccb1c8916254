/**
 * Closes connections while both sides open streams, write, drain, read, reset and give up, and names
 * every promise that does not settle then.
 */

import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import type { Stream } from '../../src/stream.ts';
import { type Random, seededRandom } from './random.ts';

type Raced = Pick<TransportConnection, 'openStream' | 'acceptStream' | 'close' | 'closed'>;

export interface CloseRace {
  /** Both ends of a new connection, the dialer's first. Called for one at a time. */
  readonly connect: () => Promise<readonly [Raced, Raced]>;
  readonly rounds: number;
  /** Of the first round; the others follow on. */
  readonly seed: number;
  /** How long it may take; milliseconds. */
  readonly limit: number;
  /** Rounds at a time; 4 by default. */
  readonly parallel?: number;
}

/** `rounds` rounds, from seed 1 on, unless CLOSE_RACE_ROUNDS and CLOSE_RACE_SEED are set. */
export const raceFromEnvironment = (rounds: number): Omit<CloseRace, 'connect'> => {
  const { CLOSE_RACE_ROUNDS = rounds, CLOSE_RACE_SEED = 1 } = process.env;
  const count = Number(CLOSE_RACE_ROUNDS);
  return { rounds: count, seed: Number(CLOSE_RACE_SEED), limit: 60_000 + count * 500 };
};

/** What one round waits for. */
interface Round {
  readonly random: Random;
  readonly pending: Map<symbol, string>;
  /** Notes `promise` as pending under `what` until it settles. */
  watch<T>(what: string, promise: Promise<T>): Promise<T>;
  /** Resolves when as many more promises have settled. */
  settled(count: number): Promise<void>;
}

/** Resolves when all rounds are over. @throws at the limit, with what is pending. */
export const closeRace = async (race: CloseRace): Promise<void> => {
  const active = new Map<number, Round>();
  const aborted = new Promise<never>((_, reject) => {
    const fail = (): void => {
      const what = [...active].map(([seed, { pending }]) => [`seed ${seed}:`, ...pending.values()]);
      reject(new Error(`still pending: ${what.map((words) => words.join(', ')).join('; ')}`));
    };
    AbortSignal.timeout(race.limit).addEventListener('abort', fail, { once: true });
  });
  aborted.catch(() => {});
  let connecting: Promise<unknown> = Promise.resolve();
  const connect = (): ReturnType<CloseRace['connect']> => {
    const ends = connecting.then(race.connect);
    connecting = ends.catch(() => {});
    return ends;
  };
  let next = 0;
  let isOver = false;
  const work = async (): Promise<void> => {
    while (next < race.rounds && !isOver) {
      const seed = race.seed + next++;
      const round = createRound(seed);
      active.set(seed, round);
      await runRound(round, connect);
      active.delete(seed);
    }
  };
  const workers = Array.from({ length: race.parallel ?? 4 }, work);
  try {
    await Promise.race([Promise.all(workers), aborted]);
  } finally {
    isOver = true;
  }
};

const createRound = (seed: number): Round => {
  const pending = new Map<symbol, string>();
  const waiting = new Set<{ left: number; resolve: () => void }>();
  const random = seededRandom(seed);
  return {
    random,
    pending,
    watch: (what, promise) => {
      const key = Symbol(what);
      pending.set(key, what);
      const done = (): void => {
        pending.delete(key);
        for (const waiter of waiting) {
          if (--waiter.left > 0) continue;
          waiting.delete(waiter);
          waiter.resolve();
        }
      };
      promise.then(done, done);
      return promise;
    },
    settled: (left) =>
      left === 0 ? Promise.resolve() : new Promise((resolve) => waiting.add({ left, resolve })),
  };
};

const runRound = async (round: Round, connect: CloseRace['connect']): Promise<void> => {
  const { random, watch } = round;
  const ends = await watch('connect', connect());
  const actors: Promise<void>[] = [];
  for (const [index, end] of ends.entries()) {
    const name = index === 0 ? 'dialer' : 'listener';
    actors.push(acceptAll(round, name, end));
    for (let openers = 1 + random.below(4); openers > 0; openers--) {
      actors.push(openMany(round, name, end));
    }
    actors.push(watch(`${name}.closed`, end.closed).then(() => {}));
  }
  // Streams may all wait for each other, so time may end the wait, too.
  const clock = new Promise<void>((resolve) => void setTimeout(resolve, random.below(100)).unref());
  await Promise.race([round.settled(random.below(100)), clock]);
  const [dialer, listener] = ends;
  const order = [[dialer], [listener], [dialer, listener], [listener, dialer]][random.below(4)];
  const closes = (order ?? []).map((end) =>
    watch(`${end === dialer ? 'dialer' : 'listener'}.close()`, end.close(1, 'closed in the race')),
  );
  await Promise.all([...closes, ...actors]);
  for (const end of ends) {
    assert.equal(await watch('acceptStream() after the end', acceptLast(end)), null);
    const opened = watch('openStream() after the end', end.openStream());
    await assert.rejects(opened, (error) => isLeanError(error, 'ERR_CONNECTION_CLOSED'));
  }
};

/** Streams that came before the end may still be handed out after it. */
const acceptLast = async (end: Raced): Promise<null> => {
  while ((await end.acceptStream()) !== null);
  return null;
};

const acceptAll = async (round: Round, name: string, end: Raced): Promise<void> => {
  const uses: Promise<void>[] = [];
  for (;;) {
    const stream = await round.watch(`${name}.acceptStream()`, end.acceptStream());
    if (stream === null) break;
    uses.push(use(round, name, stream));
  }
  await Promise.all(uses);
};

/** Until the connection is closed. */
const openMany = async (round: Round, name: string, end: Raced): Promise<void> => {
  const { random, watch } = round;
  const uses: Promise<void>[] = [];
  for (;;) {
    const impatient = random.below(5) === 0;
    const giveUp = new AbortController();
    if (impatient) setImmediate(() => giveUp.abort());
    let stream: Stream;
    try {
      stream = await watch(`${name}.openStream()`, end.openStream(giveUp.signal));
    } catch (error) {
      if (impatient && isLeanError(error, 'ERR_ABORTED')) continue;
      assert.ok(isLeanError(error, 'ERR_CONNECTION_CLOSED'), `openStream(): ${error}`);
      break;
    }
    const used = use(round, name, stream);
    uses.push(used);
    if (random.below(2) === 0) await used;
    else await nextTurn();
  }
  await Promise.all(uses);
};

/** Writes and reads until it is enough, or the stream has ended. */
const use = async (round: Round, name: string, stream: Stream): Promise<void> => {
  const who = `${name}'s stream ${stream.id}`;
  await Promise.all([writeSome(round, who, stream), readSome(round, who, stream)]);
};

const writeSome = async ({ random, watch }: Round, who: string, stream: Stream): Promise<void> => {
  try {
    for (let writes = random.below(6); writes > 0; writes--) {
      const length = 1 + random.below(random.below(4) === 0 ? 200_000 : 2_000);
      if (!stream.write(Buffer.alloc(length))) await watch(`${who}: drain()`, stream.drain());
      if (random.below(3) === 0) await nextTurn();
    }
  } catch {
    return; // The stream has ended.
  }
  const how = random.below(8);
  if (how === 0) stream.reset(3);
  else if (how > 1) stream.closeWrite();
};

const readSome = async ({ random, watch }: Round, who: string, stream: Stream): Promise<void> => {
  if (random.below(8) === 0) {
    stream.stopSending(4);
    return;
  }
  const most = random.below(5) === 0 ? random.below(3) : Number.POSITIVE_INFINITY;
  try {
    for (let reads = 0; reads < most; reads++) {
      if ((await watch(`${who}: read()`, stream.read())) === null) break;
    }
  } catch {
    return; // The stream has ended.
  }
  if (random.below(2) === 0) stream.stopSending();
};
