/** Runs suites that were written for Mocha's globals on `node:test`. */

import { afterEach, beforeEach, describe, it } from 'node:test';

/** What Mocha's tests have as `this`, as far as js-libp2p's suites use it. */
interface MochaContext {
  skip(): void;
  timeout(ms: number): void;
}

type MochaTest = (this: MochaContext) => unknown;

const mochaIt = (name: string, test: MochaTest): void => {
  // Mocha has no time limit of its own here: who calls `withMochaGlobals` gives one.
  void it(name, async (t) => {
    await test.call({ skip: () => t.skip(), timeout: () => {} });
  });
};

const GLOBALS = {
  describe,
  it: mochaIt,
  beforeEach: (hook: () => unknown) => beforeEach(() => hook()),
  afterEach: (hook: () => unknown) => afterEach(() => hook()),
};

/** Calls `define`, which defines suites, with Mocha's globals; they are gone afterwards. */
export const withMochaGlobals = (define: () => void): void => {
  Object.assign(globalThis, GLOBALS);
  try {
    define();
  } finally {
    for (const name of Object.keys(GLOBALS)) Reflect.deleteProperty(globalThis, name);
  }
};
