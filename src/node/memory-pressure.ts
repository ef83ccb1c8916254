/** Whether this process is about to run out of memory: V8 ends it at the limit of its heap, Linux at that of its cgroup. */

import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';

const MIB = 1 << 20;
/** What V8 adds for young objects to the size of the heap that is asked for (`--max-old-space-size`), three semi-spaces. */
const YOUNG = (Number.parseInt(process.versions.node, 10) >= 26 ? 96 : 48) * MIB;
/** Node says so many bytes, or more, where nothing is limited. */
const UNLIMITED = 2 ** 50;

/** The old generation's limit is for it alone; a part at least of what both have, as flags may give the young one more. */
const oldLimit = (): number => {
  const { heap_size_limit: limit } = getHeapStatistics();
  return Math.max(limit - YOUNG, limit / 8);
};

const oldUsed = (): number => {
  let used = 0;
  for (const { space_name: name, space_used_size: bytes } of getHeapSpaceStatistics()) {
    if (!name.startsWith('new_')) used += bytes;
  }
  return used;
};

/**
 * Costs some microseconds. What is garbage counts until V8 has collected it.
 *
 * @param percent of the memory that there may be.
 */
export const memoryIsShort = (percent: number): boolean => {
  if (percent >= 100) return false;
  const share = percent / 100;
  if (oldUsed() > share * oldLimit()) return true;
  const constrained = process.constrainedMemory();
  return (
    constrained > 0 && constrained < UNLIMITED && process.memoryUsage.rss() > share * constrained
  );
};
