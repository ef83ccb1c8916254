/**
 * Whether this process is about to run out of memory. V8 ends it at the limit of its heap, Linux at that of its cgroup;
 * at the limit of its address space (`ulimit -v`) allocations fail, anywhere.
 */

import { readFileSync } from 'node:fs';
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';

/** The beginning of the reason with which connections are refused for lack of memory. */
export const MEMORY_IS_SHORT = 'memory is short';

const MIB = 1 << 20;
/** What V8 adds to `--max-old-space-size` for the young generation, three semi-spaces; bytes. */
const YOUNG = (Number.parseInt(process.versions.node, 10) >= 26 ? 96 : 48) * MIB;
/** `process.constrainedMemory()` returns at least this where there is no limit; bytes. */
const UNLIMITED = 2 ** 50;

/**
 * The limit of V8's old generation, bytes; the young generation's share is not available to it. At least an eighth of
 * the whole heap, as flags may have enlarged the young generation.
 */
const oldLimit = (): number => {
  const { heap_size_limit: limit } = getHeapStatistics();
  return Math.max(limit - YOUNG, limit / 8);
};

/** Bytes that the old generation uses. */
const oldUsed = (): number => {
  let used = 0;
  for (const { space_name: name, space_used_size: bytes } of getHeapSpaceStatistics()) {
    if (!name.startsWith('new_')) used += bytes;
  }
  return used;
};

/** The soft limit of the address space, bytes; `undefined` where there is none, or no /proc. */
const addressLimit = (): number | undefined => {
  try {
    const [, soft] =
      /^Max address space +(\d+) /m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
};

/** The size of the address space, in bytes. */
const addressSize = (): number =>
  1024 * Number(/^VmSize:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);

/**
 * Makes a function that returns which memory is short, if any. A call takes some microseconds, or tens of them where
 * the address space is limited. Garbage counts until V8 has collected it.
 *
 * Node.js reserves more than 1 GiB of address space that it may never use. So of the address space, only what was left
 * when the gauge was made counts as available.
 *
 * @param percent how much of each kind of memory may be used; 100: no limit.
 */
export const memoryGauge = (percent: number): (() => string | undefined) => {
  if (percent >= 100) return () => undefined;
  const share = percent / 100;
  const mayAddress = addressLimit();
  const addressed = mayAddress === undefined ? 0 : addressSize();
  return () => {
    if (oldUsed() > share * oldLimit()) return "V8's heap";
    const constrained = process.constrainedMemory();
    if (
      constrained > 0 &&
      constrained < UNLIMITED &&
      process.memoryUsage.rss() > share * constrained
    ) {
      return 'the cgroup';
    }
    if (mayAddress === undefined) return undefined;
    return addressSize() - addressed > share * (mayAddress - addressed)
      ? 'the address space'
      : undefined;
  };
};
