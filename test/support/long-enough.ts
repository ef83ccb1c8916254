/** Retries with longer time limits: for tests that want a limit to pass soon, on machines that may be busy. */

/**
 * Calls `act` with each of `limits`, milliseconds, until it succeeds. @throws what it throws with the last one.
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
