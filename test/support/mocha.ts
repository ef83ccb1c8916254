/** Runs suites that were written for Mocha's globals on `node:test`. */

import { after, afterEach, before, beforeEach, describe, it } from 'node:test';

/** What Mocha's tests have as `this`, as far as js-libp2p's suites use it. */
interface MochaContext {
  skip(): void;
  timeout(ms: number): void;
}

type MochaTest = (this: MochaContext) => unknown;

/** Mocha has no time limit of its own here: who calls `withMochaGlobals` gives one. */
const NO_LIMIT = { skip: () => {}, timeout: () => {} };

const mochaIt = (name: string, test: MochaTest): void => {
  void it(name, async (t) => {
    await test.call({ skip: () => t.skip(), timeout: () => {} });
  });
};

const GLOBALS = {
  describe,
  it: mochaIt,
  before: (hook: MochaTest) => before(() => hook.call(NO_LIMIT)),
  after: (hook: MochaTest) => after(() => hook.call(NO_LIMIT)),
  beforeEach: (hook: MochaTest) => beforeEach(() => hook.call(NO_LIMIT)),
  afterEach: (hook: MochaTest) => afterEach(() => hook.call(NO_LIMIT)),
};

/**
 * Calls `define`, which defines suites, with Mocha's globals. They stay: suites may be defined in later turns,
 * and in callbacks.
 */
export const withMochaGlobals = <T>(define: () => T): T => {
  Object.assign(globalThis, GLOBALS);
  return define();
};
