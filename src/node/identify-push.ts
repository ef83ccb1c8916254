/** Identify push: connected peers are sent this node's identify message when it has changed. */

import type { Connection } from '../connection.ts';

/** Milliseconds for which changes are collected before peers are told. */
const GATHER = 100;
/** Peers that are told (those connected longest), and how many of them at once. */
const MAX_PEERS = 512;
const AT_ONCE = 16;

export interface IdentifyPush {
  /** Something may have changed. */
  changed(): void;
}

/**
 * @param said the identify message, as text: peers are not sent the same one twice. May throw.
 * @param tell tells one peer; what it throws is ignored.
 */
export const createIdentifyPush = (
  connections: () => readonly Connection[],
  said: () => string,
  tell: (connection: Connection) => Promise<void>,
  closing: AbortSignal,
): IdentifyPush => {
  /** The message that was sent last; `undefined` if nobody was connected when it changed. */
  let last: string | undefined;
  let gathering = false;
  /** The connections at the time of the change: later ones get the new message by identify. */
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
    let now: string;
    try {
      now = said();
    } catch {
      // A user's transport failed to name its addresses, or there is no file descriptor to ask for those of this machine:
      // peers are told with the next change.
      return;
    }
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
