/** What a signal does to a run: the first one stops it in good order, a second one kills all of it. */

import { say } from '../command-line.ts';
import { exitCodeOf, killAll } from './processes.ts';

export interface Stop {
  /** Aborted by the first signal once the run has begun, or by whoever else has to stop it. */
  readonly controller: AbortController;
  /** Until this is called, a signal ends the process at once, and a build of peers with it. */
  begin(): void;
  caught(): NodeJS.Signals | undefined;
}

/** Takes care of SIGINT, SIGTERM and SIGHUP from now on. */
export const stopOnSignals = (): Stop => {
  const controller = new AbortController();
  let begun = false;
  let caught: NodeJS.Signals | undefined;
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (caught !== undefined || !begun) {
        killAll();
        process.exit(exitCodeOf(name));
      }
      caught = name;
      say(`${name}: stopping; once more kills at once`);
      controller.abort(`stopped by ${name}`);
    });
  }
  return {
    controller,
    begin: () => {
      begun = true;
    },
    caught: () => caught,
  };
};
