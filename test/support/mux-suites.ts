/** The stream suite over a muxer on a real TCP socket pair. */

import type { TestContext } from 'node:test';
import type { MuxerName } from '../../src/mux/muxer.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import { type ConnectionPair, streamSuite } from '../mux/suite.ts';
import { streamContract } from '../stream/contract.ts';
import { muxerOver, socketPair } from './mux-pair.ts';

/** How long mplex waits for a reader; longer than any pause of the suite's readers. */
const LIMITS = { slowReaderTimeout: 1_000 };

export const muxerSuite = (name: MuxerName): void => {
  const resetCodes = name === 'yamux';
  const connect = async (t: TestContext): Promise<ConnectionPair> => {
    const [left, right] = await socketPair();
    const dialed = muxerOver(name, socketWire(left, 'dialed'), 'dialer', LIMITS);
    const accepted = muxerOver(name, socketWire(right, 'accepted'), 'listener', LIMITS);
    t.after(() => Promise.all([dialed.close(), accepted.close()]));
    const cut = (): void => {
      left.resetAndDestroy();
      right.resetAndDestroy();
    };
    return { dialed, accepted, cut };
  };
  streamContract(`${name} over TCP`, { connect, resetCodes, stopCodes: false });
  streamSuite(`${name} over TCP`, { connect, resetCodes, independent: name === 'yamux' });
};
