/** Where traces of QUIC connections are written, and how large they may be, from environment variables. */

import { quote } from '../printable.ts';
import type { QuicTrace } from '../quic/engine.ts';
import { HarnessError } from './errors.ts';

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads `SSLKEYLOGFILE`, which names a file of at most `SSLKEYLOG_MAX_BYTES` bytes, and `QLOGDIR`, which names a directory for
 * at most `QLOG_MAX_FILES` files and `QLOG_MAX_BYTES` bytes. Other QUIC programs read the two that name something, too.
 *
 * @throws ERR_CONFIG for a limit that is not a whole number.
 */
export const quicTraceOf = (environment: Variables): QuicTrace => {
  const { SSLKEYLOGFILE: keyLog, QLOGDIR: qlog } = environment;
  const maxKeyLogBytes = limitOf(environment, 'SSLKEYLOG_MAX_BYTES');
  const maxQlogFiles = limitOf(environment, 'QLOG_MAX_FILES');
  const maxQlogBytes = limitOf(environment, 'QLOG_MAX_BYTES');
  return {
    ...(keyLog && { keyLog }),
    ...(maxKeyLogBytes !== undefined && { maxKeyLogBytes }),
    ...(qlog && { qlog }),
    ...(maxQlogFiles !== undefined && { maxQlogFiles }),
    ...(maxQlogBytes !== undefined && { maxQlogBytes }),
  };
};

const limitOf = (environment: Variables, name: string): number | undefined => {
  const value = environment[name];
  if (value === undefined || value === '') return undefined;
  if (/^[1-9]\d{0,11}$/.test(value)) return Number(value);
  const message = `${name} must be a whole number from 1 on, not ${quote(value)}`;
  throw new HarnessError('ERR_CONFIG', message);
};
