/** Identify push: sends connected peers this node's identify message when it has changed. */

import type { Connection } from '../connection.ts';
import { createMinuteCount } from './minute-count.ts';

/** How long changes are collected before the message is sent; milliseconds. */
const GATHER = 100;
/** How often it is sent in a minute before changes are collected for longer, and how long then; milliseconds. */
const ROUNDS_PER_MINUTE = 12;
const GATHER_LONGER = 5_000;
/** The most peers that it is sent to: those connected longest. */
const MAX_PEERS = 512;
/** How many peers it is sent to at the same time. */
const AT_ONCE = 16;

export interface IdentifyPush {
  /** Something may have changed. */
  changed(): void;
}

/**
 * Relays make the message change as often as they like, by granting reservations and closing connections. So it is sent
 * to all peers before it is sent again, and not often.
 *
 * @param message the identify message, as text: peers are not sent the same one twice. May throw.
 * @param push sends it to one peer; what it throws is ignored.
 */
export const createIdentifyPush = (
  connections: () => readonly Connection[],
  message: () => string,
  push: (connection: Connection) => Promise<void>,
  closing: AbortSignal,
): IdentifyPush => {
  /** The message that was sent last; `undefined` if nobody was connected when it changed. */
  let last: string | undefined;
  const rounds = createMinuteCount();
  /** Whether changes are being collected, or the message is being sent. */
  let busy = false;
  /** Whether something has changed since the message was last made. */
  let again = false;
  /** The connections at the time of the change: later ones get the new message by identify. */
  let known: readonly Connection[] = [];

  const pushToAll = async (): Promise<void> => {
    const open = new Set(connections());
    const waiting = known.filter((connection) => open.has(connection)).slice(0, MAX_PEERS);
    known = [];
    const next = async (): Promise<void> => {
      for (let connection = waiting.shift(); connection; connection = waiting.shift()) {
        if (closing.aborted) return;
        await push(connection).catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next));
  };

  /** The message if it is new. */
  const newMessage = (): string | undefined => {
    try {
      const now = message();
      return now === last ? undefined : now;
    } catch {
      // A custom transport could not return its addresses, or no file descriptor is left to look up this machine's.
      // The next change is pushed again.
      return undefined;
    }
  };

  const look = async (): Promise<void> => {
    again = false;
    const found = newMessage();
    if (found !== undefined && !closing.aborted) {
      last = found;
      rounds.add('');
      await pushToAll();
    }
    busy = false;
    if (again && known.length > 0) gather();
  };

  const gather = (): void => {
    busy = true;
    const often = rounds.total() >= ROUNDS_PER_MINUTE;
    setTimeout(() => look().catch(() => {}), often ? GATHER_LONGER : GATHER).unref();
  };

  return {
    changed: () => {
      known = connections();
      if (known.length === 0) last = undefined;
      if (known.length === 0) return;
      again = true;
      if (!busy) gather();
    },
  };
};
