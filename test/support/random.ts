/** A seeded pseudo-random generator (mulberry32), so that a failing case can be run again. */
export interface Random {
  /** An integer of 0..bound-1. */
  below(bound: number): number;
}

export const seededRandom = (seed: number): Random => {
  let state = seed | 0;
  return {
    below: (bound) => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) % bound;
    },
  };
};

/** A copy of `bytes` with one to three random changes: bits, bytes, cuts, insertions, repetitions. */
export const mutate = (random: Random, bytes: Uint8Array): Uint8Array => {
  let result = Uint8Array.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(result.length + 1);
    const kind = random.below(6);
    if (kind === 0) result[at] = (result[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 1) result[at] = random.below(256);
    else if (kind === 2) result = result.slice(0, at);
    else if (kind === 3) {
      const inserted = Uint8Array.from({ length: 1 + random.below(4) }, () => random.below(256));
      result = Uint8Array.from([...result.slice(0, at), ...inserted, ...result.slice(at)]);
    } else if (kind === 4) {
      result = Uint8Array.from([...result.slice(0, at), ...result.slice(at + 1 + random.below(8))]);
    } else {
      const end = at + random.below(64);
      result = Uint8Array.from([...result.slice(0, end), ...result.slice(at)]);
    }
  }
  return result;
};
