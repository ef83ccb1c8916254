/**
 * Gives memory back to the system after a burst. V8 does not collect what nothing happens in any more, and glibc keeps
 * what was freed: tens of MiB each. Only our native binary can ask glibc, whatever the transports are; without it,
 * memory stays as it is.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MEMORY_IS_SHORT } from '../node/memory-pressure.ts';
import type { LeanNode } from '../node/node.ts';

/** From the first connection that ends; whatever ends meanwhile is part of the burst. Milliseconds. */
const DELAY = 5_000;
/** The same where it has not been worth it, as with a crowd that comes and goes; milliseconds. */
const LONGEST_DELAY = 20_000;
/** How long it takes, at most; milliseconds. */
const TRIM_TIME = 1_000;
/** What is worth it: resident memory before, in parts of what there was in the beginning, and of what there is afterwards. */
const WORTH = 1.1;

/** A heap that has grown to so many times what it was may be mostly garbage. */
const HEAP_GROWTH = 2;
/** A heap in which less is in use than this is collected again and again until nothing is left: some tens of milliseconds. */
const SMALL_HEAP = 64 << 20;
/** Collecting takes no more than one in so many milliseconds: a heap that is large because it is in use takes long, each time. */
const SHARE = 100;

/** Does so, now and then, while `node` loses connections. */
export const freeMemoryAfterBursts = (node: LeanNode): void => {
  const { rss: first, heapTotal } = process.memoryUsage();
  let timer: NodeJS.Timeout | undefined;
  let delay = DELAY;
  /** Someone was refused for lack of memory: garbage may be all that there is too much of. */
  let short = false;
  const later = (ms: number, act: () => void): void => {
    timer = setTimeout(act, ms).unref();
  };
  const plan = (): void => {
    if (timer === undefined) later(delay, () => void look());
  };
  const look = async (): Promise<void> => {
    const before = process.memoryUsage.rss();
    if (before <= WORTH * first) {
      timer = undefined;
      return;
    }
    const collects = short || process.memoryUsage().heapTotal > HEAP_GROWTH * heapTotal;
    const took = collects ? collectGarbage() : 0;
    short = false;
    if (!(await trim())) return;
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

/** Returns how long it took, ms. */
const collectGarbage = (): number => {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as NonNullable<typeof gc>;
  }
  const start = performance.now();
  gc();
  // One collection keeps caches, and pages that are almost empty.
  if (process.memoryUsage().heapUsed < SMALL_HEAP) gc({ type: 'major', flavor: 'last-resort' });
  return performance.now() - start;
};

/** Whether it can be done here; if not, it is not tried again. */
const trim = async (): Promise<boolean> => {
  try {
    const { loadQuinn } = await import('../quic/quinn/binding.ts');
    return loadQuinn().trimMemory();
  } catch {
    return false;
  }
};
