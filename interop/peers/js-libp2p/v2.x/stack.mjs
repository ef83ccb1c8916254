// js-libp2p 2.
import { identify } from '@libp2p/identify';
import { PING_PROTOCOL, ping } from '@libp2p/ping';
import { multiaddr as parse } from '@multiformats/multiaddr';
import { createLibp2p as create } from 'libp2p';
import { partsOf } from '../parts.mjs';

export const createLibp2p = create;
export const multiaddr = parse;
export const services = () => ({ identify: identify(), ping: ping() });
export const { transports, secureChannels, muxers } = partsOf((name) => import(name), {
  noise: '@chainsafe/libp2p-noise',
  yamux: '@chainsafe/libp2p-yamux',
  insecureWss: { websocket: { rejectUnauthorized: false } },
});

/** Opens a ping stream. Each call of what it resolves with is one ping: ms, finer than the ping service reports. */
export const openPing = async (connection, signal) => {
  const stream = await connection.newStream(PING_PROTOCOL, { signal });
  const queue = [];
  let wake;
  // It never ends: an end would close the stream for writing.
  const outgoing = async function* () {
    for (;;) {
      while (queue.length === 0) {
        await new Promise((resolve) => {
          wake = resolve;
        });
      }
      yield queue.shift();
    }
  };
  const failed = new Promise((_, reject) => {
    stream.sink(outgoing()).catch(reject);
    signal.addEventListener('abort', () => reject(new Error('no ping in time')));
  });
  // It may fail while no ping waits for it.
  failed.catch(() => {});
  const incoming = stream.source[Symbol.asyncIterator]();
  return async () => {
    const start = performance.now();
    queue.push(crypto.getRandomValues(new Uint8Array(32)));
    wake?.();
    for (let left = 32; left > 0; ) {
      const { value, done } = await Promise.race([incoming.next(), failed]);
      if (done) throw new Error('the ping stream was closed');
      left -= value.byteLength;
    }
    return performance.now() - start;
  };
};
