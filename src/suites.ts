/**
 * The participants of test suites that run on js-libp2p. They have a bundle of their own, dist/suites.cjs, which
 * `bin/libp2p-lean` starts for their commands: the command line and the transport image stay small.
 */

import { endWith } from './cli/main.ts';
import { HarnessError } from './harness/errors.ts';

/** Runs one suite's participant to its end and ends the process with its exit code. */
export const main = (args: readonly string[]): Promise<never> => endWith(args, run);

const run = async (args: readonly string[]): Promise<number> => {
  const [command = '', ...rest] = args;
  if (command === 'kad-dht' && rest.length === 0) {
    const { kadDht } = await import('./cli/kad-dht.ts');
    return kadDht(process.env);
  }
  if (command === 'gossipsub-interop') {
    const { gossipsubInterop } = await import('./cli/gossipsub-interop.ts');
    return gossipsubInterop(rest);
  }
  throw new HarnessError(
    'ERR_CONFIG',
    `${command} takes no arguments: environment variables configure it`,
  );
};
