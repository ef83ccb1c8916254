/**
 * A file of TLS secrets in NSS format, as Wireshark reads it, for debugging. Whoever has it can decrypt what was
 * sent.
 */

import { appendFileSync } from 'node:fs';
import { LeanError, messageOf } from '../errors.ts';

/** The name of the warning. */
const CAUTION = 'LeanCaution';

const warned = new Set<string>();

const warnOnce = (what: string): void => {
  if (warned.has(what)) return;
  warned.add(what);
  process.emitWarning(what, CAUTION);
};

/** Warns of it, once for each file. */
export const warnOfKeyLog = (file: string): void =>
  warnOnce(`TLS secrets are appended to ${file}: who has it can read these connections`);

/** Warns, once, that no file will come. */
export const warnOfNoQlog = (engine: string): void =>
  warnOnce(`the QUIC engine ${engine} writes no qlog traces`);

/**
 * Opens `file`, which only its owner may read if it is new, and warns of it.
 *
 * @returns what appends a line to it; a line that cannot be written is lost.
 * @throws ERR_OPTIONS when it cannot be written.
 */
export const openKeyLog = (file: string): ((line: Uint8Array) => void) => {
  const append = (line: Uint8Array): void => appendFileSync(file, line, { mode: 0o600 });
  try {
    append(new Uint8Array(0));
  } catch (cause) {
    const why = messageOf(cause).replace(/,.*/, '');
    throw new LeanError('ERR_OPTIONS', `the trace cannot be written: ${why}`, { cause });
  }
  warnOfKeyLog(file);
  return (line) => {
    try {
      append(line);
    } catch {
      // A full disk or a deleted file must not end a connection.
    }
  };
};
