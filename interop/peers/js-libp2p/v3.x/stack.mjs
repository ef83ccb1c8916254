// js-libp2p 3: every transport, secure channel and muxer it has on Node.js, loaded when it is used.
import { identify } from '@libp2p/identify';
import { PING_PROTOCOL, ping } from '@libp2p/ping';
import { multiaddr as parse } from '@multiformats/multiaddr';
import { createLibp2p as create } from 'libp2p';
import { selfSigned } from '../certificate.mjs';

export const createLibp2p = create;
export const multiaddr = parse;

/** It needs `reflect-metadata` to be loaded first. */
const loadX509 = async () => {
  await import('reflect-metadata');
  return import('@peculiar/x509');
};

export const transports = {
  'quic-v1': async () => (await import('@chainsafe/libp2p-quic')).quic(),
  tcp: async () => (await import('@libp2p/tcp')).tcp(),
  ws: async () => (await import('@libp2p/websockets')).webSockets(),
  wss: async (listen) => {
    const { webSockets } = await import('@libp2p/websockets');
    return listen ? webSockets({ https: await selfSigned(await loadX509()) }) : webSockets();
  },
};
export const secureChannels = {
  noise: async () => (await import('@libp2p/noise')).noise(),
  tls: async () => (await import('@libp2p/tls')).tls(),
};
export const muxers = {
  yamux: async () => (await import('@libp2p/yamux')).yamux(),
  mplex: async () => (await import('@libp2p/mplex')).mplex(),
};
export const services = () => ({ identify: identify(), ping: ping() });

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
