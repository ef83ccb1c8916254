/** A file of TLS secrets in NSS format, for debugging with Wireshark. Whoever has it can decrypt the connections. */

import { cautionOnce } from '../caution.ts';
import { appendSecret, checkTraceFile, type KeyLog } from '../quic/trace.ts';

/** Warns that a file holds TLS secrets; once for each file. */
export const warnOfKeyLog = ({ file, maxBytes }: KeyLog): void =>
  cautionOnce(
    `TLS secrets are appended to ${file} until it has ${maxBytes} bytes: who has it can read these connections`,
  );

/** Warns, once, that the engine writes no qlog traces. */
export const warnOfNoQlog = (engine: string): void =>
  cautionOnce(`the QUIC engine ${engine} writes no qlog traces`);

/**
 * Opens a file, which only its owner may read if it is new, and warns of it.
 *
 * @returns a function that appends a line; a line that cannot be written is lost.
 * @throws ERR_OPTIONS when it cannot be written.
 */
export const openKeyLog = (keyLog: KeyLog): ((line: Uint8Array) => void) => {
  checkTraceFile(keyLog.file);
  warnOfKeyLog(keyLog);
  return (line) => appendSecret(keyLog, line);
};
