/** A progress bar on stderr. Loaded for terminals only. */

import { createLogUpdate } from 'log-update';
import { formatRate, formatSize } from './size.ts';

export interface ProgressBar {
  /** Bytes moved so far. */
  update(bytes: number): void;
  /** Removes the bar. */
  clear(): void;
}

export type ShowProgress = (title: string, total: number) => ProgressBar;

const WIDTH = 30;
/** How many updates the rate is measured over: about a second. */
const WINDOW = 10;

export const showProgress: ShowProgress = (title, total) => {
  const write = createLogUpdate(process.stderr);
  const recent: [at: number, bytes: number][] = [[performance.now(), 0]];
  return {
    update: (bytes) => {
      const now = performance.now();
      recent.push([now, bytes]);
      if (recent.length > WINDOW) recent.shift();
      const [since, before] = recent[0] ?? [now, bytes];
      const share = total === 0 ? 1 : bytes / total;
      const filled = Math.round(share * WIDTH);
      const bar = `${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)}`;
      const perMs = (bytes - before) / Math.max(now - since, 1);
      const left = perMs > 0 ? `${Math.ceil((total - bytes) / perMs / 1000)} s left` : 'stalled';
      const done = `${formatSize(bytes)} of ${formatSize(total)}`;
      const rate = formatRate(bytes - before, now - since);
      write(`${title.padEnd(8)} ${bar} ${Math.floor(share * 100)}%  ${done}  ${rate}  ${left}`);
    },
    clear: () => write.clear(),
  };
};
