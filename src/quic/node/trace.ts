/** The callbacks of `node:quic` that have TLS secrets and qlog events for a trace. */

import type { Role } from '../../connection.ts';
import type { QuicTrace } from '../engine.ts';
import {
  appendSecret,
  appendTrace,
  keyLogOf,
  type Qlog,
  qlogFile,
  qlogOf,
  warnOfFullTraces,
} from '../trace.ts';
import type { NodeQuicSession, SessionOptions } from './types.ts';

type TraceOptions = Pick<SessionOptions, 'keylog' | 'onkeylog' | 'qlog' | 'onqlog'>;

/** Files and bytes of traces that this process has written. */
const written = { files: 0, bytes: 0 };

/** For `connect()` and `listen()`; each session gets a file of its own. */
export const traceOptions = (trace: QuicTrace, role: Role): TraceOptions => {
  const [keyLog, qlog] = [keyLogOf(trace), qlogOf(trace)];
  if (keyLog === undefined && qlog === undefined) return {};
  /** `undefined`: there were as many as there may be. */
  const files = new WeakMap<NodeQuicSession, string | undefined>();
  const append = (file: string, text: string, { maxBytes }: Qlog): void => {
    written.bytes += text.length;
    if (written.bytes <= maxBytes) appendTrace(file, text);
    else warnOfFullTraces();
  };
  const write = (to: Qlog, session: NodeQuicSession, data: string): void => {
    if (files.has(session)) {
      const known = files.get(session);
      if (known !== undefined) append(known, data, to);
      return;
    }
    if (written.files >= to.maxFiles) {
      files.set(session, undefined);
      warnOfFullTraces();
      return;
    }
    written.files++;
    const file = qlogFile(to.folder, role, written.files);
    files.set(session, file);
    // The header comes first; times count from now.
    const now = performance.timeOrigin + performance.now();
    append(file, data.replace('"reference_time":0', `"reference_time":${now}`), to);
  };
  return {
    ...(keyLog !== undefined && {
      keylog: true,
      // Node 24.21 gives a line without its end.
      onkeylog: (line) => appendSecret(keyLog, `${line.trimEnd()}\n`),
    }),
    ...(qlog !== undefined && {
      qlog: true,
      onqlog(data) {
        write(qlog, this, data);
      },
    }),
  };
};
