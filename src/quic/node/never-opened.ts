/**
 * Streams that were given up before the peer's limit let them open. Node 24.21 frees one when its JavaScript object is
 * collected, or when the process ends; by then what `Stream::~Stream` (src/quic/streams.cc) needs is gone, and Node dies with
 * SIGSEGV. So once there was such a stream, garbage is collected just before the process ends.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { RUNTIME } from '../../runtime.ts';

/** The process has had such a stream. */
let expected = false;

const collect = (): void => {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
};

/** There is such a stream. */
export const neverOpened = (): void => {
  if (expected || !RUNTIME.quicEndsProcess) return;
  expected = true;
  process.once('exit', collect);
};
