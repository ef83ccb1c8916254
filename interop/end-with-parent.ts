/** For the programs that tests start: none may outlive its test. */

import { fstatSync } from 'node:fs';

/**
 * Ends this process when its stdin ends, if that is a pipe; it does when the parent process is gone, for
 * whatever reason. Does not keep the process alive.
 */
export const endWithParent = (): void => {
  const stat = fstatSync(0);
  if (!stat.isFIFO() && !stat.isSocket()) return;
  const { stdin } = process;
  stdin.on('end', () => process.exit());
  stdin.on('error', () => process.exit());
  stdin.resume();
  if ('unref' in stdin) stdin.unref();
};
