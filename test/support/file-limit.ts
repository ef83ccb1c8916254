/**
 * Loaded into each test file (Makefile, `--import`): ends its process when it has run for longer than any suite may. A test
 * that was cancelled may go on for ever, for example in a loop that waits, and node:test waits for it.
 */

import { env, exit, getActiveResourcesInfo } from 'node:process';
import { setTimeout } from 'node:timers';
import { SUITE } from './suite-limit.ts';

/** So long after the limit of a suite, which names the test, milliseconds. */
const GRACE = 60_000;

// The runner loads this too, and has no limit.
if (env.NODE_TEST_CONTEXT !== undefined) {
  setTimeout(() => {
    console.error(`ended, as it ran for too long; still open: ${getActiveResourcesInfo().join()}`);
    exit(1);
  }, SUITE.timeout + GRACE).unref();
}
