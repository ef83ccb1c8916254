/** The command line; `bin/libp2p-lean` starts it. Commands are imported only when they are asked for. */

import { endWith } from './cli/main.ts';
import { hasHarnessVariables, isPerfSuite } from './harness/environment.ts';
import { isHolePunchSuite } from './harness/hole-punch-environment.ts';
import { isMiscSuite } from './harness/misc-environment.ts';

/** Runs one command to its end and ends the process with its exit code. */
export const main = (args: readonly string[]): Promise<never> => endWith(args, run);

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
  if ((args.length === 1 && args[0] === 'misc') || (bare && isMiscSuite(process.env))) {
    const { misc } = await import('./cli/misc.ts');
    return misc(process.env);
  }
  if (bare || (args.length === 1 && args[0] === 'transport')) {
    const { transport } = await import('./cli/transport.ts');
    return transport(process.env);
  }
  const { parse } = await import('./cli/arguments.ts');
  return parse(args);
};
