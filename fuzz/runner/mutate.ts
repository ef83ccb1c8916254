/** New inputs from old ones. */

import type { Random } from './random.ts';

/** Values at which lengths, counts and signs go wrong. */
const INTERESTING = [
  0, 1, 2, 0x0f, 0x10, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x3ff, 0x400, 0x401, 0x7fff, 0x8000,
  0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
];

type Mutation = (bytes: Uint8Array, random: Random, context: MutationContext) => Uint8Array;

export interface MutationContext {
  readonly words: readonly Uint8Array[];
  /** Something else from the corpus. */
  readonly other: () => Uint8Array;
  readonly maxLength: number;
}

/** `base` with one to eight changes; never longer than `maxLength`. A new array. */
export const mutate = (base: Uint8Array, random: Random, context: MutationContext): Uint8Array => {
  let bytes = base.slice(0, context.maxLength);
  // Mostly few: many changes at once seldom leave anything that a parser gets far with.
  for (
    let changes = 1 + (random.below(4) === 0 ? random.below(8) : random.below(2));
    changes > 0;
    changes--
  ) {
    const mutation = MUTATIONS[random.below(MUTATIONS.length)] as Mutation;
    bytes = mutation(bytes, random, context).slice(0, context.maxLength);
  }
  return bytes;
};

const insert = (bytes: Uint8Array, at: number, added: Uint8Array): Uint8Array => {
  const out = new Uint8Array(bytes.length + added.length);
  out.set(bytes.subarray(0, at));
  out.set(added, at);
  out.set(bytes.subarray(at), at + added.length);
  return out;
};

/** A place in `bytes`, and how many bytes from there on, short ones more often. */
const rangeIn = (bytes: Uint8Array, random: Random): [start: number, length: number] => {
  const start = random.below(bytes.length + 1);
  const most = Math.min(bytes.length - start, 1 << random.below(8));
  return [start, most === 0 ? 0 : 1 + random.below(most)];
};

const flipBit: Mutation = (bytes, random) => {
  if (bytes.length > 0) {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
  }
  return bytes;
};

const setByte: Mutation = (bytes, random) => {
  if (bytes.length > 0) bytes[random.below(bytes.length)] = random.bits();
  return bytes;
};

const step: Mutation = (bytes, random) => {
  if (bytes.length > 0) {
    const at = random.below(bytes.length);
    bytes[at] = (bytes[at] as number) + random.below(9) - 4;
  }
  return bytes;
};

/** An integer of one, two or four bytes, in either order. */
const setInteger: Mutation = (bytes, random) => {
  const size = [1, 2, 4][random.below(3)] as number;
  if (bytes.length < size) return bytes;
  const value = INTERESTING[random.below(INTERESTING.length)] as number;
  const at = random.below(bytes.length - size + 1);
  const bigEndian = random.below(2) === 0;
  for (let i = 0; i < size; i++) bytes[at + i] = value >>> (8 * (bigEndian ? size - 1 - i : i));
  return bytes;
};

/** A varint of any length, minimal or not. */
const insertVarint: Mutation = (bytes, random) => {
  const varint = new Uint8Array(1 + random.below(10));
  for (let i = 0; i < varint.length; i++) varint[i] = random.bits() | 0x80;
  varint[varint.length - 1] = random.below(128);
  return insert(bytes, random.below(bytes.length + 1), varint);
};

const insertRandom: Mutation = (bytes, random) => {
  const added = new Uint8Array(1 + random.below(1 << random.below(6)));
  for (let i = 0; i < added.length; i++) added[i] = random.bits();
  return insert(bytes, random.below(bytes.length + 1), added);
};

const remove: Mutation = (bytes, random) => {
  const [start, length] = rangeIn(bytes, random);
  const out = new Uint8Array(bytes.length - length);
  out.set(bytes.subarray(0, start));
  out.set(bytes.subarray(start + length), start);
  return out;
};

const truncate: Mutation = (bytes, random) => bytes.slice(0, random.below(bytes.length + 1));

/** Repeats a part, up to 32 times. */
const repeat: Mutation = (bytes, random) => {
  const [start, length] = rangeIn(bytes, random);
  const times = 1 + random.below(1 << random.below(6));
  const added = new Uint8Array(length * times);
  for (let i = 0; i < times; i++) added.set(bytes.subarray(start, start + length), i * length);
  return insert(bytes, start, added);
};

const insertWord: Mutation = (bytes, random, { words, other }) => {
  const word = words.length === 0 ? other() : (words[random.below(words.length)] as Uint8Array);
  return insert(bytes, random.below(bytes.length + 1), word);
};

/** The start of this and the end of another. */
const splice: Mutation = (bytes, random, { other }) => {
  const source = other();
  const head = bytes.subarray(0, random.below(bytes.length + 1));
  return insert(head, head.length, source.subarray(random.below(source.length + 1)));
};

const insertOther: Mutation = (bytes, random, { other }) => {
  const source = other();
  const [start, length] = rangeIn(source, random);
  return insert(bytes, random.below(bytes.length + 1), source.subarray(start, start + length));
};

const MUTATIONS: readonly Mutation[] = [
  flipBit,
  flipBit,
  setByte,
  step,
  setInteger,
  setInteger,
  insertVarint,
  insertRandom,
  remove,
  truncate,
  repeat,
  insertWord,
  insertWord,
  splice,
  insertOther,
];
