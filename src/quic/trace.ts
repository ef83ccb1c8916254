/** Traces of connections, for those who look for an error: where they go, and whether they can go there. */

import { accessSync, appendFileSync, constants, readdirSync } from 'node:fs';
import path from 'node:path';
import { LeanError, messageOf } from '../errors.ts';
import type { QuicTrace } from './engine.ts';

/** @throws ERR_OPTIONS when one of them cannot be written. */
export const checkTrace = ({ keyLog, qlog }: QuicTrace): void => {
  try {
    if (keyLog !== undefined) appendFileSync(keyLog, '', { mode: 0o600 });
    if (qlog !== undefined) {
      readdirSync(qlog);
      accessSync(qlog, constants.W_OK);
    }
  } catch (error) {
    const why = messageOf(error).replace(/,.*/, '');
    throw new LeanError('ERR_OPTIONS', `the trace cannot be written: ${why}`);
  }
};

/** The file in `folder` for connection `number` of this process. */
export const qlogFile = (folder: string, role: 'dialer' | 'listener', number: number): string =>
  path.join(folder, `${process.pid}-node-${number}-${role}.sqlog`);

/** Appends to a trace; what cannot be written is lost: a full disk must not end a connection. */
export const appendTrace = (file: string, text: string): void => {
  try {
    appendFileSync(file, text, { mode: 0o600 });
  } catch {
    // See above.
  }
};
