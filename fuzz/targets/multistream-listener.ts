/** What a listener reads until a protocol is agreed on (src/multistream.ts). */

import { MULTISTREAM, negotiate } from '../../src/multistream.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

const PROTOCOLS = ['/ipfs/ping/1.0.0', '/ipfs/id/1.0.0', '/noise'];

const line = (text: string): Uint8Array =>
  Buffer.from(`${String.fromCharCode(text.length + 1)}${text}\n`);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, line(MULTISTREAM), line('/noise')),
    inChunks(1, line(MULTISTREAM), line('/tls/1.0.0'), line('ls'), line('/ipfs/id/1.0.0')),
    inChunks(9, line(MULTISTREAM), ...Array<Uint8Array>(40).fill(line('/x'))),
  ],
  words: [
    line(MULTISTREAM),
    line('na'),
    line('ls'),
    ...PROTOCOLS.map(line),
    Uint8Array.of(0x80, 8),
  ],
  fuzz: async (data) => {
    const pipe = pipeOf(chunksOf(data));
    try {
      const protocol = await negotiate(pipe, PROTOCOLS);
      check(PROTOCOLS.includes(protocol), 'what is agreed on was offered');
    } catch (error) {
      expected(
        error,
        'ERR_PROTOCOL_NOT_SUPPORTED',
        'ERR_PROTOCOL_VIOLATION',
        'ERR_MESSAGE_TOO_LONG',
        'ERR_EOF',
      );
    }
    const answered = pipe.written.reduce((sum, chunk) => sum + chunk.length, 0);
    check(answered < 64 * data.length + 64, 'an answer is not many times what was asked');
  },
};
