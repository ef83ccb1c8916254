/** mplex's messages (src/mux/mplex.ts). */

import { createMplex } from '../../src/mux/mplex.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { fuzzMuxer } from '../support/mux.ts';
import { inChunks } from '../support/pipe.ts';

const message = (id: number, flag: number, body = ''): Uint8Array =>
  Buffer.concat([Uint8Array.of((id << 3) | flag, body.length), Buffer.from(body)]);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, message(0, 0, 'name'), message(0, 2, 'hello'), message(0, 4)),
    inChunks(3, message(1, 0), message(1, 2, 'x'), message(1, 6)),
    inChunks(0x80, message(0, 1, 'answer'), message(0, 3)),
    inChunks(0x41, message(0, 0), message(0, 2, 'unread'), message(0, 5)),
  ],
  words: [
    message(0, 0),
    message(0, 2, 'abc'),
    message(0, 4),
    message(0, 6),
    message(0, 1, 'z'),
    message(0, 3),
  ],
  fuzz: (data) => fuzzMuxer(createMplex, data),
};
