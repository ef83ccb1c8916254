/**
 * Gives memory back to the system after a burst of connections. An idle V8 does not collect its garbage, and glibc keeps
 * what was freed: tens of MiB each. Only quinn's binary can make glibc return it, whichever transports are in use;
 * without that binary, only V8's garbage is collected.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MEMORY_IS_SHORT } from '../node/memory-pressure.ts';
import type { LeanNode } from '../node/node.ts';

/** How long after the first connection that ends; those that end meanwhile belong to the same burst. Milliseconds. */
const DELAY = 5_000;
/** The longest such delay: it doubles while freeing brings little, as when peers keep coming and going. Milliseconds. */
const LONGEST_DELAY = 20_000;
/** How long trimming takes at most; milliseconds. */
const TRIM_TIME = 1_000;
/**
 * Freeing is tried when resident memory exceeds that at the start by this factor, or a connection was refused for lack of
 * memory. It was worth it when memory before exceeded that afterwards by this factor.
 */
const WORTH = 1.1;

/** A heap that has grown by this factor since the start may be mostly garbage. */
const HEAP_GROWTH = 2;
/** So may what buffers hold outside of the heap, if it has grown by so much; bytes. V8 collects it late when idle. */
const EXTERNAL_GROWTH = 8 << 20;
/** With less than this in use, the heap is collected repeatedly until nothing is left, which takes tens of ms; bytes. */
const SMALL_HEAP = 64 << 20;
/**
 * Collecting may take one part in so many of a processor's time: it takes long when the heap is large because it is in use.
 */
const SHARE = 100;

/** Frees memory from time to time while connections of `node` end. */
export const freeMemoryAfterBursts = (node: LeanNode): void => {
  const { rss: first, heapTotal, external } = process.memoryUsage();
  let timer: NodeJS.Timeout | undefined;
  let delay = DELAY;
  /** A connection was refused for lack of memory, which may all be garbage. */
  let short = false;
  const later = (ms: number, act: () => void): void => {
    timer = setTimeout(act, ms).unref();
  };
  const plan = (): void => {
    if (timer === undefined) later(delay, () => void look());
  };
  const look = async (): Promise<void> => {
    const before = process.memoryUsage.rss();
    // Resident memory says nothing of an address space, or of a heap whose pages the system has reclaimed.
    if (!short && before <= WORTH * first) {
      timer = undefined;
      return;
    }
    const now = process.memoryUsage();
    const hasGrown =
      now.heapTotal > HEAP_GROWTH * heapTotal || now.external > external + EXTERNAL_GROWTH;
    const collects = short || hasGrown;
    const took = collects ? collectGarbage() : 0;
    short = false;
    await trim();
    later(TRIM_TIME, () => {
      const worth = before > WORTH * process.memoryUsage.rss();
      delay = Math.max(worth ? DELAY : Math.min(2 * delay, LONGEST_DELAY), SHARE * took);
      timer = undefined;
    });
  };
  node.addEventListener('connection:close', plan);
  node.addEventListener('connection:refuse', ({ detail: { error } }) => {
    short ||= error.message.startsWith(MEMORY_IS_SHORT);
    plan();
  });
};

let gc:
  | ((options?: { readonly type: 'major'; readonly flavor: 'last-resort' }) => void)
  | undefined;

/** @returns the processor time that it took, milliseconds; on a busy machine the clock shows many times as much. */
const collectGarbage = (): number => {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as NonNullable<typeof gc>;
  }
  const start = process.cpuUsage();
  gc();
  // One collection keeps caches, and pages that are almost empty.
  if (process.memoryUsage().heapUsed < SMALL_HEAP) gc({ type: 'major', flavor: 'last-resort' });
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1_000;
};

/** Makes glibc return freed memory, if the binary is there and there is memory to load it and start its thread. */
const trim = async (): Promise<void> => {
  try {
    const { loadQuinn } = await import('../quic/quinn/binding.ts');
    loadQuinn().trimMemory();
  } catch {}
};
