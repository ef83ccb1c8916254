/** Traces of connections, for those who look for an error: where they go, and whether they can go there. */

import { accessSync, appendFileSync, constants, readdirSync } from 'node:fs';
import path from 'node:path';
import { LeanError, messageOf } from '../errors.ts';
import type { QuicTrace } from './engine.ts';

/** @throws ERR_OPTIONS when one of them cannot be written. */
export const checkTrace = ({ keyLog, qlog }: QuicTrace): void => {
  if (keyLog !== undefined) checkTraceFile(keyLog);
  if (qlog === undefined) return;
  try {
    readdirSync(qlog);
    accessSync(qlog, constants.W_OK);
  } catch (cause) {
    throw unwritable(qlog, cause);
  }
};

/** Creates `file`, which only its owner may read, where it is not there. @throws ERR_OPTIONS when it cannot be written. */
export const checkTraceFile = (file: string): void => {
  try {
    appendFileSync(file, '', { mode: 0o600 });
  } catch (cause) {
    throw unwritable(file, cause);
  }
};

const unwritable = (file: string, cause: unknown): LeanError => {
  const why = messageOf(cause).replace(/,.*/, '');
  return new LeanError('ERR_OPTIONS', `the trace ${file} cannot be written: ${why}`, { cause });
};

/** The file in `folder` for connection `number` of this process. */
export const qlogFile = (folder: string, role: 'dialer' | 'listener', number: number): string =>
  path.join(folder, `${process.pid}-node-${number}-${role}.sqlog`);

/** Appends to a trace; what cannot be written is lost: a full disk must not end a connection. */
export const appendTrace = (file: string, text: string | Uint8Array): void => {
  try {
    appendFileSync(file, text, { mode: 0o600 });
  } catch {
    // See above.
  }
};
