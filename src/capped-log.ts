/** Rate-limited logging of events that peers can cause without limit: some lines a second, and a count of the rest. */

/** Milliseconds. */
const SECOND = 1_000;

/**
 * @param limit the number of events that are logged, per second.
 * @param log logs one event.
 * @param logSuppressed is called at most once a second, with the number of events beyond the limit, if any.
 */
export const cappedLog = <Event>(
  limit: number,
  log: (event: Event) => void,
  logSuppressed: (count: number) => void,
): ((event: Event) => void) => {
  let count = 0;
  const onSecond = (): void => {
    const suppressed = count - limit;
    count = 0;
    if (suppressed > 0) logSuppressed(suppressed);
  };
  return (event) => {
    count++;
    if (count === 1) setTimeout(onSecond, SECOND).unref();
    if (count <= limit) log(event);
  };
};
