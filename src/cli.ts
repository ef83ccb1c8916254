/** The command line; `bin/libp2p-lean` starts it. Commands are imported only when they are asked for. */

import { hintFor } from './cli/hints.ts';
import { EXIT, exitCodeOf, note } from './cli/process.ts';
import { messageOf } from './errors.ts';
import { hasHarnessVariables, isPerfSuite } from './harness/environment.ts';
import { isHolePunchSuite } from './harness/hole-punch-environment.ts';

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
  // A container runs the participant without arguments, and not through the argument parser: its
  // start-up time is measured.
  const bare = args.length === 0 && hasHarnessVariables(process.env);
  if ((args.length === 1 && args[0] === 'hole-punch') || (bare && isHolePunchSuite(process.env))) {
    const { holePunch } = await import('./cli/hole-punch.ts');
    return holePunch(process.env);
  }
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

/** Where it was thrown, without the message above it, whose lines may look like these. */
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
 * The reader of our output left. For people (`libp2p-lean ping … | head`) that is the end, without a
 * word; a participant that cannot report fails, where it prints.
 */
const onLostOutput = (args: readonly string[]): void => {
  const isForPeople = ['ping', 'listen', 'relay'].includes(args[0] ?? '');
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
