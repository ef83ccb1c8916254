/** Traces of connections, for debugging: where they are written, and whether that is possible. */

import { accessSync, appendFileSync, constants, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { cautionOnce } from '../caution.ts';
import { LeanError, messageOf } from '../errors.ts';
import { checkRanges, type LimitRanges, MAX_BYTES, MAX_COUNT } from '../limit-ranges.ts';
import type { QuicTrace } from './engine.ts';

/** Where qlog traces are written, and their limits. */
export interface Qlog {
  /** A directory. */
  readonly folder: string;
  readonly maxFiles: number;
  readonly maxBytes: number;
}

/** A file for TLS secrets, in NSS format, and its limit: Wireshark decrypts with them. */
export interface KeyLog {
  readonly file: string;
  readonly maxBytes: number;
}

/** As in {@link QuicTrace}. */
interface KeyLogOptions {
  readonly keyLog?: string | undefined;
  readonly maxKeyLogBytes?: number | undefined;
}

type TraceLimits = Required<Pick<QuicTrace, 'maxKeyLogBytes' | 'maxQlogFiles' | 'maxQlogBytes'>>;

const DEFAULT_TRACE_LIMITS: TraceLimits = {
  maxKeyLogBytes: 2 ** 30,
  maxQlogFiles: 1_000,
  maxQlogBytes: 2 ** 30,
};

const TRACE_RANGES: LimitRanges<TraceLimits> = {
  maxKeyLogBytes: [1, MAX_BYTES],
  maxQlogFiles: [1, MAX_COUNT],
  maxQlogBytes: [1, MAX_BYTES],
};

const limitsOf = ({ maxKeyLogBytes, maxQlogFiles, maxQlogBytes }: QuicTrace): TraceLimits => {
  const given = {
    ...(maxKeyLogBytes !== undefined && { maxKeyLogBytes }),
    ...(maxQlogFiles !== undefined && { maxQlogFiles }),
    ...(maxQlogBytes !== undefined && { maxQlogBytes }),
  };
  return { ...DEFAULT_TRACE_LIMITS, ...checkRanges(given, TRACE_RANGES, 'a trace') };
};

/** `undefined` where there are to be none. @throws ERR_OPTIONS for a limit that is out of range. */
export const qlogOf = (trace: QuicTrace): Qlog | undefined => {
  const { maxQlogFiles, maxQlogBytes } = limitsOf(trace);
  if (trace.qlog === undefined) return undefined;
  return { folder: trace.qlog, maxFiles: maxQlogFiles, maxBytes: maxQlogBytes };
};

/** `undefined` where there is to be none. @throws ERR_OPTIONS for a limit that is out of range. */
export const keyLogOf = ({ keyLog, maxKeyLogBytes }: KeyLogOptions): KeyLog | undefined => {
  const limits = limitsOf(maxKeyLogBytes === undefined ? {} : { maxKeyLogBytes });
  return keyLog === undefined ? undefined : { file: keyLog, maxBytes: limits.maxKeyLogBytes };
};

/** Whether secrets may be appended to the file. */
export const hasRoom = ({ file, maxBytes }: KeyLog): boolean =>
  (statSync(file, { throwIfNoEntry: false })?.size ?? 0) < maxBytes;

/** Appends a line to the file if there is room. As {@link appendTrace}. */
export const appendSecret = (keyLog: KeyLog, line: string | Uint8Array): void => {
  if (hasRoom(keyLog)) appendTrace(keyLog.file, line);
};

/** Warns, once, that a limit of {@link Qlog} is reached. */
export const warnOfFullTraces = (): void =>
  cautionOnce(
    'no more qlog traces are written: their limit is reached (maxQlogFiles, maxQlogBytes)',
  );

/** @throws ERR_OPTIONS when one of them cannot be written, or a limit is out of range. */
export const checkTrace = (trace: QuicTrace): void => {
  const { keyLog, qlog } = trace;
  qlogOf(trace);
  if (keyLog !== undefined) checkTraceFile(keyLog);
  if (qlog === undefined) return;
  try {
    readdirSync(qlog);
    accessSync(qlog, constants.W_OK);
  } catch (cause) {
    throw unwritable(qlog, cause);
  }
};

/** Creates `file`, readable by its owner only, if it does not exist. @throws ERR_OPTIONS when it cannot be written. */
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

/** Appends to a trace. What cannot be written is lost: a full disk must not end a connection. */
export const appendTrace = (file: string, text: string | Uint8Array): void => {
  try {
    appendFileSync(file, text, { mode: 0o600 });
  } catch {
    // See above.
  }
};
