/**
 * Which code has run, from V8's own counters (block coverage): nothing has to be instrumented, and they tell
 * of dependencies, too. Reading them takes milliseconds, so it is done once for many inputs.
 */

import inspector from 'node:inspector';

/** A number for each place in the code. */
export type Places = ReadonlySet<number>;

export interface Coverage {
  /** The places that have been reached since the last call, without those that are known. */
  take(): Places;
  /** From now on these are known. */
  know(places: Iterable<number>): void;
  /** How many are known. */
  readonly known: number;
  stop(): void;
}

/** Where blocks of one function begin and end. V8 names only those that have run more or less often than what is around them. */
interface FunctionPlaces {
  readonly numbers: Map<number, number>;
  /** Those of them that are not known. */
  readonly unknown: Map<number, number>;
}

/** @param counts whether the code in a file of that URL is of interest. */
export const startCoverage = (counts: (url: string) => boolean): Coverage => {
  const session = new inspector.Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  /** By script, then by where the function begins. */
  const scripts = new Map<string, Map<number, FunctionPlaces>>();
  /** By number: the function, and the place in it; undefined once it is known. */
  const places: ([FunctionPlaces, number] | undefined)[] = [];
  let known = 0;

  const functionAt = (script: string, start: number): FunctionPlaces => {
    const functions = scripts.get(script) ?? new Map<number, FunctionPlaces>();
    scripts.set(script, functions);
    const found = functions.get(start) ?? { numbers: new Map(), unknown: new Map() };
    functions.set(start, found);
    return found;
  };
  const name = (code: FunctionPlaces, place: number): void => {
    if (code.numbers.has(place)) return;
    const number = places.push([code, place]) - 1;
    code.numbers.set(place, number);
    code.unknown.set(place, number);
  };

  return {
    take: () => {
      const reached = new Set<number>();
      // Without I/O: the answer is there when post() returns.
      session.post('Profiler.takePreciseCoverage', (error, { result }) => {
        if (error !== null) throw error;
        for (const { url, scriptId, functions } of result) {
          if (!counts(url)) continue;
          for (const { ranges } of functions) {
            const code = functionAt(scriptId, ranges[0]?.startOffset ?? 0);
            for (const { startOffset, endOffset } of ranges) {
              name(code, startOffset);
              name(code, endOffset);
            }
            for (const [place, number] of code.unknown) {
              // The innermost range comes last.
              const range = ranges.findLast(
                (it) => it.startOffset <= place && place < it.endOffset,
              );
              if (range !== undefined && range.count > 0) reached.add(number);
            }
          }
        }
      });
      return reached;
    },
    know: (numbers) => {
      for (const number of numbers) {
        const found = places[number];
        if (found === undefined) continue;
        places[number] = undefined;
        known++;
        found[0].unknown.delete(found[1]);
      }
    },
    get known() {
      return known;
    },
    stop: () => session.disconnect(),
  };
};
