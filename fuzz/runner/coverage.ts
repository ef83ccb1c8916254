/**
 * Which code has run, from V8's own counters (block coverage): nothing has to be instrumented, and they tell
 * of dependencies, too. Reading them takes milliseconds, so it is done once for many inputs.
 */

import inspector from 'node:inspector';

export interface Coverage {
  /** The places in the code that have been reached since the last call, by name. */
  take(): Set<string>;
  stop(): void;
}

/** @param counts whether the code in a file of that URL is of interest. */
export const startCoverage = (counts: (url: string) => boolean): Coverage => {
  const session = new inspector.Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  /** Where blocks begin and end, by function. V8 names only those that have run more or less often than what is around them. */
  const places = new Map<string, Set<number>>();
  return {
    take: () => {
      const reached = new Set<string>();
      // Without I/O: the answer is there when post() returns.
      session.post('Profiler.takePreciseCoverage', (error, { result }) => {
        if (error !== null) throw error;
        for (const { url, scriptId, functions } of result) {
          if (!counts(url)) continue;
          for (const { ranges } of functions) {
            const name = `${scriptId} ${ranges[0]?.startOffset}`;
            const known = places.get(name) ?? new Set<number>();
            places.set(name, known);
            for (const { startOffset, endOffset } of ranges) known.add(startOffset).add(endOffset);
            for (const place of known) {
              // The innermost range comes last.
              const range = ranges.findLast(
                (it) => it.startOffset <= place && place < it.endOffset,
              );
              if (range !== undefined && range.count > 0) reached.add(`${name} ${place}`);
            }
          }
        }
      });
      return reached;
    },
    stop: () => session.disconnect(),
  };
};
