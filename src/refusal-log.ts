/** Rate-limited logging of refused connections, which anybody can cause: a few lines a second, and a count of the rest. */

/** Refusals logged one by one, per second. */
const MOST = 5;
/** Milliseconds. */
const SECOND = 1_000;

/** @param tellMore is called at most once a second with the number that was not logged, if there were any. */
export const refusalLog = <Refusal>(
  tell: (refusal: Refusal) => void,
  tellMore: (count: number) => void,
): ((refusal: Refusal) => void) => {
  let count = 0;
  const onSecond = (): void => {
    const more = count - MOST;
    count = 0;
    if (more > 0) tellMore(more);
  };
  return (refusal) => {
    count++;
    if (count === 1) setTimeout(onSecond, SECOND).unref();
    if (count <= MOST) tell(refusal);
  };
};
