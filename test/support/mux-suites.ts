/** The stream suite over a muxer on a real TCP socket pair. */

import type { MuxerName } from '../../src/mux/muxer.ts';
import { socketWire } from '../../src/transports/wire.ts';
import { streamSuite } from '../mux/suite.ts';
import { muxerOver, socketPair } from './mux-pair.ts';

export const muxerSuite = (name: MuxerName): void =>
  streamSuite(`${name} over TCP`, {
    independent: name === 'yamux',
    resetCodes: name === 'yamux',
    connect: async (t) => {
      const [left, right] = await socketPair();
      const dialed = muxerOver(name, socketWire(left, 'dialed'), 'dialer');
      const accepted = muxerOver(name, socketWire(right, 'accepted'), 'listener');
      t.after(() => Promise.all([dialed.close(), accepted.close()]));
      const cut = (): void => {
        left.resetAndDestroy();
        right.resetAndDestroy();
      };
      return { dialed, accepted, cut };
    },
  });
