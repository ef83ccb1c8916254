/** What a dialer reads of a listener's answers, eager (first byte even) and lazy (src/multistream.ts). */

import { MULTISTREAM, select, selectLazily } from '../../src/multistream.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

const PROTOCOLS = ['/ipfs/ping/1.0.0', '/ipfs/id/1.0.0'];

const line = (text: string): Uint8Array =>
  Buffer.from(`${String.fromCharCode(text.length + 1)}${text}\n`);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, line(MULTISTREAM), line('/ipfs/ping/1.0.0')),
    inChunks(2, line(MULTISTREAM), line('na'), line('/ipfs/id/1.0.0'), Buffer.from('payload')),
    inChunks(1, line(MULTISTREAM), line('/ipfs/ping/1.0.0'), Buffer.from('payload')),
    inChunks(5, line(MULTISTREAM), line('na')),
  ],
  words: [line(MULTISTREAM), line('na'), ...PROTOCOLS.map(line), Uint8Array.of(0x80, 8)],
  fuzz: async (data) => {
    const pipe = pipeOf(chunksOf(data));
    try {
      if (((data[0] ?? 0) & 1) === 0) {
        check(PROTOCOLS.includes(await select(pipe, PROTOCOLS)), 'what is taken was proposed');
      } else {
        for await (const chunk of selectLazily(pipe, '/ipfs/ping/1.0.0')) {
          check(chunk.length > 0, 'no chunk is empty');
        }
      }
    } catch (error) {
      expected(
        error,
        'ERR_PROTOCOL_NOT_SUPPORTED',
        'ERR_PROTOCOL_VIOLATION',
        'ERR_MESSAGE_TOO_LONG',
        'ERR_EOF',
      );
    }
  },
};
