/** What to do about an error, in words of the command line, which the library does not know. */

import { isLeanError } from '../errors.ts';

/** The end of the error's line: `; do this`, or nothing. */
export const hintFor = (error: unknown): string => {
  if (!isLeanError(error)) return '';
  const lacksNodeQuic = error.code === 'ERR_ENGINE_UNAVAILABLE' && /node:quic/.test(error.message);
  if (lacksNodeQuic) return '; NODE_QUIC can name a Node.js that was built with it';
  return '';
};
