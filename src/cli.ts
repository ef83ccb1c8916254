/** The command line; `bin/libp2p-lean` starts it. Commands are imported only when they are asked for. */

import { hintFor } from './cli/hints.ts';
import { EXIT, exitCodeOf } from './cli/process.ts';
import { messageOf } from './errors.ts';
import { hasHarnessVariables, isPerfSuite } from './harness/environment.ts';

/** Runs one command to its end and ends the process with its exit code. */
export const main = async (args: readonly string[]): Promise<never> => {
  onLostOutput(args);
  onLostErrors();
  let code: number;
  try {
    code = await run(args);
  } catch (error) {
    code = exitCodeOf(error);
    complain(error);
  }
  process.exit(code);
};

const run = async (args: readonly string[]): Promise<number> => {
  // A container runs the participant without a word, and not through the argument parser: its
  // start-up time is measured.
  const bare = args.length === 0 && hasHarnessVariables(process.env);
  if (
    (args.length === 1 && args[0] === 'perf' && hasHarnessVariables(process.env)) ||
    (bare && isPerfSuite(process.env))
  ) {
    const { perf } = await import('./cli/perf.ts');
    return perf(process.env);
  }
  if (bare || (args.length === 1 && args[0] === 'transport')) {
    const { transport } = await import('./cli/transport.ts');
    return transport(process.env);
  }
  const { parse } = await import('./cli/arguments.ts');
  return parse(args);
};

/** One line, and the whole story for those who debug. */
const complain = (error: unknown): void => {
  process.stderr.write(`libp2p-lean: ${messageOf(error)}${hintFor(error)}\n`);
  if (process.env.DEBUG === 'true' && error instanceof Error) {
    process.stderr.write(`${describe(error)}\n`);
  }
};

const describe = (error: Error): string => {
  const cause = error.cause instanceof Error ? `\ncaused by ${describe(error.cause)}` : '';
  return `${error.stack}${cause}`;
};

/**
 * The reader of our output left. For people (`libp2p-lean ping … | head`) that is the end, without a
 * word; a participant that cannot report fails, where it prints.
 */
const onLostOutput = (args: readonly string[]): void => {
  const isForPeople = args[0] === 'ping' || args[0] === 'listen';
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (isForPeople) process.exit(error.code === 'EPIPE' ? EXIT.ok : EXIT.failed);
  });
  process.stderr.on('error', () => undefined);
};

/** Nothing should get here; if it does, it is still one line and a failure. */
const onLostErrors = (): void => {
  const end = (error: unknown): void => {
    complain(error);
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
};
