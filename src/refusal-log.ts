/** What is said of refused connections, whose number anybody can raise: a few lines a second, and how many more. */

/** Refusals told one by one in a second. */
const MOST = 5;
/** Milliseconds. */
const SECOND = 1_000;

/** @param tellMore is called once a second at most, and only if there were more. */
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
