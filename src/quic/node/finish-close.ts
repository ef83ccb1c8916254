/** A method of Node's that is not public, and the versions in which it is known what it takes. */

import type { NodeQuicSession } from './types.ts';

/** How the native side tells a session of its end: `ngtcp2_ccerr_type`, error code, reason. */
export type FinishClose = (
  type: number,
  code: bigint,
  reason: string | undefined,
  ...rest: unknown[]
) => unknown;

/** Releases of Node.js whose method was read, or tested, to take these; 24.21 has been run. */
const KNOWN_MAJORS: readonly number[] = [24, 26];
/** Parameters that it declares: the three, and in some versions the error's name. */
const KNOWN_LENGTHS: readonly number[] = [3, 4];

/**
 * The symbol of `session`'s method, a {@link FinishClose}. `undefined` in a version of Node.js (`24.21.0`) that
 * is not known, or where the method is missing or takes something else: it must be left alone there.
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
