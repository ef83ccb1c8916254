/** A file of TLS secrets in NSS format, for debugging with Wireshark. Whoever has it can decrypt the connections. */

import { cautionOnce } from '../caution.ts';
import { appendTrace, checkTraceFile } from '../quic/trace.ts';

/** Warns that `file` holds TLS secrets; once for each file. */
export const warnOfKeyLog = (file: string): void =>
  cautionOnce(`TLS secrets are appended to ${file}: who has it can read these connections`);

/** Warns, once, that the engine writes no qlog traces. */
export const warnOfNoQlog = (engine: string): void =>
  cautionOnce(`the QUIC engine ${engine} writes no qlog traces`);

/**
 * Opens `file`, which only its owner may read if it is new, and warns of it.
 *
 * @returns a function that appends a line; a line that cannot be written is lost.
 * @throws ERR_OPTIONS when it cannot be written.
 */
export const openKeyLog = (file: string): ((line: Uint8Array) => void) => {
  checkTraceFile(file);
  warnOfKeyLog(file);
  return (line) => appendTrace(file, line);
};
