/** Counts events of the last minute by key, such as the peer that caused them: for rate limits. */

const MINUTE = 60_000;

/** Its memory is bounded by the limits that its user applies before each `add`. */
export interface MinuteCount {
  /** The number of events in the last minute. */
  total(): number;
  /** The number of those of `key`. */
  of(key: string): number;
  /** Counts an event of `key`. */
  add(key: string): void;
}

export const createMinuteCount = (): MinuteCount => {
  /** The oldest first. */
  const recent: { readonly key: string; readonly at: number }[] = [];
  const counts = new Map<string, number>();

  const forgetOld = (): void => {
    const now = performance.now();
    for (let oldest = recent[0]; oldest !== undefined; oldest = recent[0]) {
      if (now - oldest.at < MINUTE) return;
      recent.shift();
      const left = (counts.get(oldest.key) ?? 0) - 1;
      if (left > 0) counts.set(oldest.key, left);
      else counts.delete(oldest.key);
    }
  };

  return {
    total: () => {
      forgetOld();
      return recent.length;
    },
    of: (key) => {
      forgetOld();
      return counts.get(key) ?? 0;
    },
    add: (key) => {
      recent.push({ key, at: performance.now() });
      counts.set(key, (counts.get(key) ?? 0) + 1);
    },
  };
};
