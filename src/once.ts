/** A function that calls `make` once and keeps its result; after a failure the next call tries again. */
export const once = <T>(make: () => Promise<T>): (() => Promise<T>) => {
  let made: Promise<T> | undefined;
  return () => {
    if (made !== undefined) return made;
    made = make();
    made.catch(() => {
      made = undefined;
    });
    return made;
  };
};
