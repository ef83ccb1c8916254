/** What the user can do about an error. The library does not know the command line's flags and variables. */

import { type ErrorCode, isLeanError } from '../errors.ts';

/** The hint for the end of the error's line: `; do this`, or an empty text. */
export const hintFor = (error: unknown): string => {
  if (hasCode(error, 'ERR_WSS_CERTIFICATE')) return '; -k (--insecure) accepts it';
  if (!isLeanError(error)) return '';
  const lacksNodeQuic = error.code === 'ERR_ENGINE_UNAVAILABLE' && /node:quic/.test(error.message);
  if (lacksNodeQuic) return '; NODE_QUIC can name a Node.js that was built with it';
  const { SSLKEYLOGFILE, QLOGDIR } = process.env;
  for (const [name, file] of Object.entries({ SSLKEYLOGFILE, QLOGDIR })) {
    if (file && error.message.startsWith(`the trace ${file} `)) return `; ${name} names it`;
  }
  return '';
};

/** Whether `error`, or one of its causes, has that code. */
const hasCode = (error: unknown, code: ErrorCode): boolean => {
  if (isLeanError(error, code)) return true;
  if (error instanceof AggregateError) return error.errors.some((it) => hasCode(it, code));
  return error instanceof Error && hasCode(error.cause, code);
};
