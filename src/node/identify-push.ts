/** Peers are told when what this node says of itself has changed. */

import type { Connection } from '../connection.ts';

/** Milliseconds in which changes are gathered. */
const GATHER = 100;
/** Peers that are told, those connected longest, and how many of them at once. */
const MAX_PEERS = 512;
const AT_ONCE = 16;

export interface IdentifyPush {
  /** Something may have changed. */
  changed(): void;
}

/**
 * @param said what is told, as text: peers are not told the same twice.
 * @param tell tells one peer; what it throws is ignored.
 */
export const createIdentifyPush = (
  connections: () => readonly Connection[],
  said: () => string,
  tell: (connection: Connection) => Promise<void>,
  closing: AbortSignal,
): IdentifyPush => {
  /** What was told last; `undefined` when nobody is connected, and nothing of it need be known. */
  let last: string | undefined;
  let gathering = false;
  /** Who was connected when it changed: later ones hear what there is now when they ask. */
  let known: readonly Connection[] = [];

  const tellAll = async (): Promise<void> => {
    const open = new Set(connections());
    const waiting = known.filter((connection) => open.has(connection)).slice(0, MAX_PEERS);
    known = [];
    const next = async (): Promise<void> => {
      for (let connection = waiting.shift(); connection; connection = waiting.shift()) {
        if (closing.aborted) return;
        await tell(connection).catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next));
  };

  const look = (): void => {
    gathering = false;
    const now = said();
    if (now === last || closing.aborted) return;
    last = now;
    tellAll().catch(() => {});
  };

  return {
    changed: () => {
      known = connections();
      if (known.length === 0) last = undefined;
      if (known.length === 0 || gathering) return;
      gathering = true;
      setTimeout(look, GATHER).unref();
    },
  };
};
