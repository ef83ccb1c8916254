/** The callbacks of `node:quic` that have TLS secrets and qlog events for a trace. */

import type { Role } from '../../connection.ts';
import type { QuicTrace } from '../engine.ts';
import { appendTrace, qlogFile } from '../trace.ts';
import type { NodeQuicSession, SessionOptions } from './types.ts';

type TraceOptions = Pick<SessionOptions, 'keylog' | 'onkeylog' | 'qlog' | 'onqlog'>;

/** Connections of this process that a trace was written of. */
let traced = 0;

/** For `connect()` and `listen()`; each session gets a file of its own. */
export const traceOptions = ({ keyLog, qlog }: QuicTrace, role: Role): TraceOptions => {
  if (keyLog === undefined && qlog === undefined) return {};
  const files = new WeakMap<NodeQuicSession, string>();
  const write = (folder: string, session: NodeQuicSession, data: string): void => {
    const known = files.get(session);
    if (known !== undefined) {
      appendTrace(known, data);
      return;
    }
    traced++;
    const file = qlogFile(folder, role, traced);
    files.set(session, file);
    // The header comes first; times count from now.
    const now = performance.timeOrigin + performance.now();
    appendTrace(file, data.replace('"reference_time":0', `"reference_time":${now}`));
  };
  return {
    ...(keyLog !== undefined && {
      keylog: true,
      // Node 24.21 gives a line without its end.
      onkeylog: (line) => appendTrace(keyLog, `${line.trimEnd()}\n`),
    }),
    ...(qlog !== undefined && {
      qlog: true,
      onqlog(data) {
        write(qlog, this, data);
      },
    }),
  };
};
