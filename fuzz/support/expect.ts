/** What a target holds its parser to. */

import { LeanError } from '../../src/errors.ts';

/** Passes over a promised error, one of `codes` (prefixes of them count); throws any other. */
export const expected = (error: unknown, ...codes: readonly string[]): void => {
  if (error instanceof LeanError && codes.some((code) => error.code.startsWith(code))) return;
  throw error;
};

/** @throws Error when `holds` is false. */
export const check = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`broken promise: ${what}`);
};

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
