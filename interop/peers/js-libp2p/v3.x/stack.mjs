// js-libp2p 3.
import { identify } from '@libp2p/identify';
import { PING_PROTOCOL, ping } from '@libp2p/ping';
import { multiaddr as parse } from '@multiformats/multiaddr';
import { createLibp2p as create } from 'libp2p';
import { partsOf } from '../parts.mjs';

export const createLibp2p = create;
export const multiaddr = parse;
export const services = () => ({ identify: identify(), ping: ping() });
export const { transports, secureChannels, muxers } = partsOf((name) => import(name), {
  noise: '@libp2p/noise',
  yamux: '@libp2p/yamux',
});

/** Opens a ping stream. Each call of what it resolves with is one ping: ms, finer than the ping service reports. */
export const openPing = async (connection, signal) => {
  const stream = await connection.newStream(PING_PROTOCOL, { signal });
  let left = 0;
  let pong;
  let fail;
  stream.addEventListener('message', ({ data }) => {
    left -= data.byteLength;
    if (left <= 0) pong?.();
  });
  stream.addEventListener('close', ({ error }) => {
    fail?.(error ?? new Error('the ping stream was closed'));
  });
  signal.addEventListener('abort', () => fail?.(new Error('no ping in time')));
  return () =>
    new Promise((resolve, reject) => {
      const start = performance.now();
      pong = () => resolve(performance.now() - start);
      fail = reject;
      left = 32;
      stream.send(crypto.getRandomValues(new Uint8Array(left)));
    });
};
