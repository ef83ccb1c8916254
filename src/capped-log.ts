/** Rate-limited logging of what peers can cause as often as they like: some lines a second, and a count of the rest. */

/** Milliseconds. */
const SECOND = 1_000;

/**
 * @param most told one by one, per second.
 * @param tellMore is called at most once a second with the number that was not told, if there were any.
 */
export const cappedLog = <Event>(
  most: number,
  tell: (event: Event) => void,
  tellMore: (count: number) => void,
): ((event: Event) => void) => {
  let count = 0;
  const onSecond = (): void => {
    const more = count - most;
    count = 0;
    if (more > 0) tellMore(more);
  };
  return (event) => {
    count++;
    if (count === 1) setTimeout(onSecond, SECOND).unref();
    if (count <= most) tell(event);
  };
};
