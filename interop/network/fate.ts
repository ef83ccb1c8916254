/**
 * What happens to each packet under a condition. It depends on the seed and the packet's number in its
 * direction alone, never on time or content: the same seed loses the same packets.
 */
import type { Chance, Condition } from './conditions.ts';

/** 0: from the dialer to the listener; 1: back. */
export type Direction = 0 | 1;

export interface Fate {
  /** 0: lost. */
  readonly copies: 0 | 1 | 2;
  /** From arrival to departure; milliseconds. */
  readonly delay: number;
  /** A byte that is changed: its place, and what is xored into it (never 0). */
  readonly corrupted: { readonly at: number; readonly xor: number } | undefined;
}

/** @throws nothing; `length` is the packet's, in bytes, and `now` on any steady clock, in milliseconds. */
export type Fates = (direction: Direction, length: number, now: number) => Fate;

/** Different constants, so that decisions about one packet are independent of each other. */
const SALT = {
  loss: 1,
  corruption: 2,
  duplication: 3,
  reordering: 4,
  place: 5,
  change: 6,
} as const;

const mix = (value: number): number => {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
};

/** 32 bits for one packet. */
const bitsOf = (seed: number, direction: Direction, index: number, salt: number): number =>
  mix(mix(mix(seed + 0x9e3779b9) ^ (index * 2 + direction + 1)) + Math.imul(salt, 0x61c88647));

/** Whether something happens to the next packet of a direction; at most `burst` times in a row. */
const chances = (
  chance: Chance | undefined,
  seed: number,
  salt: number,
): ((direction: Direction, index: number) => boolean) => {
  if (chance === undefined) return () => false;
  const inRow = [0, 0];
  return (direction, index) => {
    const hit =
      (inRow[direction] ?? 0) < chance.burst &&
      bitsOf(seed, direction, index, salt) < chance.rate * 2 ** 32;
    inRow[direction] = hit ? (inRow[direction] ?? 0) + 1 : 0;
    return hit;
  };
};

const LOST: Fate = { copies: 0, delay: 0, corrupted: undefined };

/**
 * The fates of the packets of one path, asked for in the order in which packets arrive.
 *
 * @param seed an integer
 * @param overhead what IP adds to the length that is given, in bytes: 28 for the payload of a UDP datagram over IPv4
 */
export const fatesOf = (condition: Condition, seed: number, overhead: number): Fates => {
  const { delay, mtu, blackhole, reordering } = condition;
  const lost = chances(condition.loss, seed, SALT.loss);
  const corrupted = chances(condition.corruption, seed, SALT.corruption);
  const duplicated = chances(condition.duplication, seed, SALT.duplication);
  const late = chances(reordering, seed, SALT.reordering);
  const unlucky = new Set(condition.lost);
  const count = [0, 0];
  let darkUntil: number | undefined;
  return (direction, length, now) => {
    const number = (count[direction] ?? 0) + 1;
    count[direction] = number;
    // All are evaluated for every packet, so that none depends on another's outcome.
    const [isLost, isCorrupted, isDuplicated, isLate] = [
      lost(direction, number),
      corrupted(direction, number),
      duplicated(direction, number),
      late(direction, number),
    ];
    if (blackhole !== undefined && direction === 0 && number === blackhole.from) {
      darkUntil = now + blackhole.for;
    }
    if (isLost || length + overhead > mtu) return LOST;
    if (direction === 0 && unlucky.has(number)) return LOST;
    if (darkUntil !== undefined && now < darkUntil) return LOST;
    return {
      copies: isDuplicated ? 2 : 1,
      delay: delay + (isLate ? (reordering?.by ?? 0) : 0),
      corrupted: isCorrupted
        ? {
            at: bitsOf(seed, direction, number, SALT.place) % Math.max(1, length),
            xor: 1 + (bitsOf(seed, direction, number, SALT.change) % 255),
          }
        : undefined,
    };
  };
};
