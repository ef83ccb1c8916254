/** Where traces of QUIC connections go, in the variables that other QUIC programs read, too. */

import type { QuicTrace } from '../quic/engine.ts';

/** `SSLKEYLOGFILE` names a file, `QLOGDIR` a directory. */
export const quicTraceOf = (
  environment: Readonly<Record<string, string | undefined>>,
): QuicTrace => {
  const { SSLKEYLOGFILE: keyLog, QLOGDIR: qlog } = environment;
  return { ...(keyLog && { keyLog }), ...(qlog && { qlog }) };
};
