/**
 * TLS secrets of connections. quiche's binding empties the file that it is given, so each connection gets one of its own,
 * whose lines are then appended to the user's.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { appendSecret, hasRoom, type KeyLog } from '../trace.ts';
import type { QuicheHandle } from './binding.ts';

/**
 * Has the secrets of a connection logged, if a file is named and has room. Must be called before its first packet.
 *
 * @returns what appends them; to be called when the handshake is over, or has failed.
 */
export const logKeys = (keyLog: KeyLog | undefined, handle: QuicheHandle): (() => void) => {
  if (keyLog === undefined || !hasRoom(keyLog)) return nothing;
  let folder: string | undefined;
  try {
    // Nobody else can look into it, or put anything there.
    folder = mkdtempSync(`${keyLog.file}-`);
    handle.setKeylog(path.join(folder, 'keys'));
  } catch {
    // What cannot be written is lost: a full disk must not end a connection.
  }
  return () => {
    if (folder === undefined) return;
    try {
      appendSecret(keyLog, readFileSync(path.join(folder, 'keys')));
    } catch {
      // See above.
    }
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // It stays.
    }
    folder = undefined;
  };
};

const nothing = (): void => {};
