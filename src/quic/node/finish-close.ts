/** An internal method of Node, and the versions in which its parameters are known. */

import type { NodeQuicSession } from './types.ts';

/** Called by the native side when a session ends: `ngtcp2_ccerr_type`, error code, reason. */
export type FinishClose = (
  type: number,
  code: bigint,
  reason: string | undefined,
  ...rest: unknown[]
) => unknown;

/** Releases of Node.js whose private parts were checked in their source; 24.21 was tested. */
export const KNOWN_MAJORS: readonly number[] = [24, 26];
/** Number of declared parameters: the three, and in some versions the error's name. */
const KNOWN_LENGTHS: readonly number[] = [3, 4];

/**
 * The symbol of `session`'s method, a {@link FinishClose}. `undefined` in a version of Node.js (`24.21.0`) that
 * is not known, or where the method is missing or has other parameters: it must not be used there.
 */
export const finishCloseOf = (
  session: NodeQuicSession,
  version = process.versions.node,
): symbol | undefined => {
  if (!KNOWN_MAJORS.includes(Number.parseInt(version, 10))) return undefined;
  const prototype: Record<symbol, unknown> = Object.getPrototypeOf(session);
  const symbol = Object.getOwnPropertySymbols(prototype).find(
    ({ description }) => description === 'kFinishClose',
  );
  if (symbol === undefined) return undefined;
  const method = prototype[symbol];
  const isKnown = typeof method === 'function' && KNOWN_LENGTHS.includes(method.length);
  return isKnown ? symbol : undefined;
};
