/** What either side reads of a Noise handshake (src/secure/noise.ts); first byte odd: the dialer. */

import { hostKeyFromSeed } from '../../src/identity/keys.ts';
import { createNoiseIdentity, secureWithNoise } from '../../src/secure/noise.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { expected } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

const MUXERS = ['/yamux/1.0.0', '/mplex/6.7.0'];
const identity = createNoiseIdentity(hostKeyFromSeed(new Uint8Array(32)), MUXERS);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(
      0,
      Uint8Array.of(0, 32),
      new Uint8Array(32).fill(9),
      Uint8Array.of(0, 64),
      new Uint8Array(64),
    ),
    inChunks(33, Uint8Array.of(0, 200), new Uint8Array(200).fill(9)),
    inChunks(0, Uint8Array.of(0, 0)),
  ],
  words: [Uint8Array.of(0, 32), Uint8Array.of(0xff, 0xff), new Uint8Array(32)],
  fuzz: async (data) => {
    const pipe = pipeOf(chunksOf(data));
    const role = ((data[0] ?? 0) & 1) === 1 ? 'dialer' : 'listener';
    try {
      await secureWithNoise(pipe, pipe, identity, {
        role,
        expectedPeer: undefined,
        muxers: MUXERS,
      });
      throw new Error('a handshake came of bytes that nobody made');
    } catch (error) {
      expected(error, 'ERR_HANDSHAKE', 'ERR_EOF', 'ERR_KEY_');
    }
  },
};
