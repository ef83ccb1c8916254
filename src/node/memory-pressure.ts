/**
 * Whether this process is about to run out of memory: V8 ends it at the limit of its heap, Linux at that of its cgroup,
 * and at that of its address space (`ulimit -v`) whatever asks for memory next does.
 */

import { readFileSync } from 'node:fs';
import { getHeapSpaceStatistics, getHeapStatistics } from 'node:v8';

/** What a refusal for lack of memory begins with. */
export const MEMORY_IS_SHORT = 'memory is short';

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

/** The soft limit of the address space in bytes; undefined where there is none, and where there is no /proc. */
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
 * Says which memory is short, or undefined. Costs some microseconds, some tens where the address space is limited. What
 * is garbage counts until V8 has collected it.
 *
 * Node.js reserves more than 1 GiB of address space that it may never use. So what counts there is how much of it has been
 * taken since the gauge was made, of what was left then.
 *
 * @param percent of the memory that there may be; 100: it is never short.
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
