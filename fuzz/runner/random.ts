/** Random numbers that a seed repeats. */

export interface Random {
  /** A whole number in 0 … 2^32 - 1. */
  bits(): number;
  /** A whole number in 0 … `count` - 1. */
  below(count: number): number;
}

/** sfc32 (Chris Doty-Humphrey, PractRand), which is fast and good enough to choose mutations. */
export const seededRandom = (seed: number): Random => {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed | 0;
  let counter = 1;
  const bits = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) bits();
  return { bits, below: (count) => bits() % count };
};
