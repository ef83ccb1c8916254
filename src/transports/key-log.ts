/**
 * A file of TLS secrets in NSS format, as Wireshark reads it, for debugging. Whoever has it can decrypt what was
 * sent.
 */

import { appendTrace, checkTraceFile } from '../quic/trace.ts';

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
  checkTraceFile(file);
  warnOfKeyLog(file);
  return (line) => appendTrace(file, line);
};
