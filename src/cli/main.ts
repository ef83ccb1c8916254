/** Runs a command: output errors, uncaught errors, exit code. */

import { messageOf } from '../errors.ts';
import { hintFor } from './hints.ts';
import { EXIT, exitCodeOf, note } from './process.ts';

/** Runs one command, which resolves to its exit code, and ends the process with it. */
export const endWith = async (
  args: readonly string[],
  run: (args: readonly string[]) => Promise<number>,
): Promise<never> => {
  onClosedOutput(args);
  onUncaughtError();
  let code: number;
  try {
    code = await run(args);
  } catch (error) {
    code = exitCodeOf(error);
    complain(error);
  }
  process.exit(code);
};

/** Prints one line; with DEBUG=true, also the stacks of the error and of its causes. */
const complain = (error: unknown): void => {
  note(`libp2p-lean: ${messageOf(error)}${hintFor(error)}`);
  if (process.env.DEBUG !== 'true') return;
  let what: unknown = error;
  for (let depth = 0; depth < MAX_CAUSES && what instanceof Error; depth++) {
    note(`${depth === 0 ? '' : 'caused by '}${what.name}: ${messageOf(what)}`);
    for (const frame of framesOf(what)) note(frame);
    what = what.cause;
  }
};

const MAX_CAUSES = 10;

/** The frames of the stack, without the message before them, whose lines may look like frames. */
const framesOf = ({ stack = '', message }: Error): string[] => {
  const start = stack.indexOf(message);
  return start < 0
    ? []
    : stack
        .slice(start + message.length)
        .split('\n')
        .slice(1);
};

/**
 * Handles a closed stdout: commands for people (`libp2p-lean ping … | head`) end silently. A participant of a test
 * suite fails when it prints its report.
 */
const onClosedOutput = (args: readonly string[]): void => {
  const isForPeople = ['ping', 'listen', 'relay'].includes(args[0] ?? '');
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isForPeople) process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
  });
  process.stderr.on('error', () => undefined);
};

/** Turns an uncaught error, which is a bug, into one line and exit code 1. */
const onUncaughtError = (): void => {
  const end = (error: unknown): void => {
    complain(error);
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
};
