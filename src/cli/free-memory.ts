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

/** A heap that has grown to so many times what it was is mostly garbage. */
const HEAP_GROWTH = 2;

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
    if (short || process.memoryUsage().heapTotal > HEAP_GROWTH * heapTotal) collectGarbage();
    short = false;
    if (!(await trim())) return;
    later(TRIM_TIME, () => {
      const worth = before > WORTH * process.memoryUsage.rss();
      delay = worth ? DELAY : Math.min(2 * delay, LONGEST_DELAY);
      timer = undefined;
    });
  };
  node.addEventListener('connection:close', plan);
  node.addEventListener('connection:refuse', ({ detail: { error } }) => {
    short ||= error.message.startsWith(MEMORY_IS_SHORT);
    plan();
  });
};

let gc: (() => void) | undefined;

const collectGarbage = (): void => {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as () => void;
  }
  gc();
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
