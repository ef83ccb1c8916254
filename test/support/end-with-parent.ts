/** For programs that tests start: none may outlive its test. */

/**
 * Ends this process when its stdin ends, as it does when whoever started it (with a pipe there) is gone,
 * however that came. With a terminal or a file there nothing happens.
 */
export const endWithParent = (): void => {
  const { stdin } = process;
  stdin.on('end', () => process.exit(0));
  stdin.on('error', () => process.exit(0));
  stdin.resume();
};
