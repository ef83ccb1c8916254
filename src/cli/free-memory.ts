/**
 * Gives memory back to the system after a burst: glibc keeps what was freed, tens of MiB of it. Only our native
 * binary can ask for it, whatever the transports are; without it, memory stays as it is.
 */

import type { LeanNode } from '../node/node.ts';

/** From the first connection that ends; whatever ends meanwhile is part of the burst. Milliseconds. */
const DELAY = 5_000;
/** The same where it has not been worth it, as with a crowd that comes and goes; milliseconds. */
const LONGEST_DELAY = 20_000;
/** How long it takes, at most; milliseconds. */
const TRIM_TIME = 1_000;
/** What is worth it: resident memory before, in parts of what there was in the beginning, and of what there is afterwards. */
const WORTH = 1.1;

/** Does so, now and then, while `node` loses connections. */
export const freeMemoryAfterBursts = (node: LeanNode): void => {
  const first = process.memoryUsage.rss();
  let timer: NodeJS.Timeout | undefined;
  let delay = DELAY;
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
    if (!(await trim())) return;
    later(TRIM_TIME, () => {
      const worth = before > WORTH * process.memoryUsage.rss();
      delay = worth ? DELAY : Math.min(2 * delay, LONGEST_DELAY);
      timer = undefined;
    });
  };
  node.addEventListener('connection:close', plan);
  node.addEventListener('connection:refuse', plan);
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
