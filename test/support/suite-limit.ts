/**
 * The options of every `describe()`: node:test's `timeout` of a suite is for all its tests together, so what is plenty for
 * each may be passed by many on a busy machine. Only a hang gets this far; tests that give no limit inherit it.
 */
export const SUITE = { timeout: 900_000 };
