/** yamux's frames (src/mux/yamux.ts). */

import { createYamux } from '../../src/mux/yamux.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { fuzzMuxer } from '../support/mux.ts';
import { inChunks } from '../support/pipe.ts';

const frame = (type: number, flags: number, id: number, length: number, body = ''): Uint8Array => {
  const head = Buffer.from([0, type, 0, flags, 0, 0, 0, id, 0, 0, 0, 0]);
  head.writeUInt32BE(length, 8);
  return Buffer.concat([head, Buffer.from(body)]);
};
const open = frame(0, 1, 1, 5, 'hello');
const more = frame(0, 0, 1, 3, 'abc');
const end = frame(1, 4, 1, 0);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, open, more, end),
    inChunks(5, frame(1, 1, 3, 0), frame(1, 0, 3, 65_536), frame(1, 8, 3, 0)),
    inChunks(0x80, frame(1, 2, 1, 0), frame(0, 0, 1, 2, 'hi'), frame(1, 4, 1, 0)),
    inChunks(13, frame(2, 1, 0, 7), frame(2, 2, 0, 7), frame(3, 0, 0, 0)),
    inChunks(0x40, open, more, frame(3, 0, 0, 1)),
  ],
  words: [
    open,
    more,
    end,
    frame(1, 8, 1, 1),
    frame(2, 1, 0, 1),
    frame(0, 1, 5, 0),
    frame(1, 2, 1, 0),
  ],
  fuzz: (data) => fuzzMuxer(createYamux, data),
};
