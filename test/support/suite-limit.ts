/**
 * The options of every `describe()`. node:test's `timeout` of a suite applies to all its tests together, so a limit that is
 * plenty for each test may be too short for many on a busy machine. Only a hang reaches this one. Tests without a limit
 * inherit it.
 */
export const SUITE = { timeout: 900_000 };
