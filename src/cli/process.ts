/** The process: signals, exit codes, output. */

import { isLeanError, LeanError } from '../errors.ts';
import { isHarnessError } from '../harness/errors.ts';
import { printable } from '../printable.ts';

/** Exit codes, as the interop runners expect them. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unsupported: 127 } as const;

/** 2 for a wrong configuration, 127 for what is not supported here, 1 for every other failure. */
export const exitCodeOf = (error: unknown): number => {
  if (isHarnessError(error, 'ERR_CONFIG') || isLeanError(error, 'ERR_OPTIONS')) return EXIT.usage;
  if (isLeanError(error, 'ERR_UNSUPPORTED')) return EXIT.unsupported;
  if (isLeanError(error, 'ERR_ENGINE_UNAVAILABLE')) return EXIT.unsupported;
  return EXIT.failed;
};

/** How long sockets may take to close after a signal; milliseconds. */
const CLOSING_TIME = 80;

/**
 * A signal that SIGINT, SIGTERM and SIGHUP fire, with ERR_ABORTED as the reason. A command that has not ended
 * `CLOSING_TIME` later is ended with `exitCode`.
 */
export const onTermination = (exitCode: number): AbortSignal => {
  const controller = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      // A terminal's Ctrl-C may arrive twice: from the terminal and through a launcher.
      if (controller.signal.aborted) return;
      controller.abort(new LeanError('ERR_ABORTED', `ended by ${name}`));
      setTimeout(() => process.exit(exitCode), CLOSING_TIME).unref();
    });
  }
  return controller.signal;
};

/** The longest line on stderr, characters. */
const MAX_LINE = 4_000;

/** Writes one line to stderr, escaped and truncated, as it may contain a peer's text. */
export const note = (line: string): void => {
  process.stderr.write(`${printable(line, MAX_LINE)}\n`);
};

/** Writes to stdout; resolves when the text has left the process. @throws when stdout is closed. */
export const print = (text: string): Promise<void> =>
  new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
