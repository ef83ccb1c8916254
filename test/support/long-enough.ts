/** Limits that a test wants short, so that they pass soon, on machines that may be busy. */

/**
 * What `act` gives with the first of `limits`, milliseconds, that leaves it enough time: when it fails it is called again
 * with the next one. @throws what it throws with the last.
 */
export const longEnough = async <T>(
  limits: readonly [number, ...number[]],
  act: (limit: number) => Promise<T>,
): Promise<T> => {
  const [limit, next, ...others] = limits;
  try {
    return await act(limit);
  } catch (error) {
    if (next === undefined) throw error;
    return longEnough([next, ...others], act);
  }
};
