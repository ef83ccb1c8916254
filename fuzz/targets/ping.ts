/** A ping listener's stream (src/protocols/ping.ts). */

import { handlePing, PING_SIZE } from '../../src/protocols/ping.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected, sameBytes } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, new Uint8Array(32)),
    inChunks(5, new Uint8Array(100)),
    inChunks(33, new Uint8Array(1000)),
  ],
  maxLength: 1024,
  fuzz: async (data) => {
    const pipe = pipeOf(chunksOf(data));
    const sent = data.subarray(1);
    const whole = sent.length - (sent.length % PING_SIZE);
    try {
      await handlePing(pipe);
      check(whole === sent.length, 'half a ping is an error');
    } catch (error) {
      expected(error, 'ERR_EOF');
    }
    check(sameBytes(Buffer.concat(pipe.written), sent.subarray(0, whole)), 'every ping comes back');
  },
};
