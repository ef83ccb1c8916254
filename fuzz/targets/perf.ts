/** Both sides of perf (src/protocols/perf.ts); first byte odd: the dialer, which asked for 64 bytes. */

import { handlePerf, perf } from '../../src/protocols/perf.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { expected } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

/** What a listener may be made to send here; more is the peer's right, and not what is looked for. */
const MOST = 1 << 20;

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 0), Buffer.from('upload')),
    inChunks(1, new Uint8Array(64)),
    inChunks(63, new Uint8Array(65)),
  ],
  fuzz: async (data) => {
    const pipe = pipeOf(chunksOf(data));
    const isDialer = ((data[0] ?? 0) & 1) === 1;
    const head = Buffer.from(data.subarray(1, 9));
    if (!isDialer && head.length === 8 && head.readBigUInt64BE() > MOST) return;
    try {
      if (isDialer) await perf(pipe, 10, 64);
      else await handlePerf(pipe);
    } catch (error) {
      expected(error, 'ERR_EOF', 'ERR_PROTOCOL_VIOLATION');
    }
  },
};
