/**
 * The participants that run on js-libp2p. They are a bundle of their own, dist/suites.cjs, so that what the
 * command line loads, and the transport image, stay small; `bin/libp2p-lean` starts it for their commands.
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
    `${command} takes no arguments: its environment says it all`,
  );
};
