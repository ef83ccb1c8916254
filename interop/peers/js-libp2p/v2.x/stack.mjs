// js-libp2p 2: every transport, secure channel and muxer it has on Node.js, loaded when it is used.
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
    return listen
      ? webSockets({ https: await selfSigned(await loadX509()) })
      : webSockets({ websocket: { rejectUnauthorized: false } });
  },
};
export const secureChannels = {
  noise: async () => (await import('@chainsafe/libp2p-noise')).noise(),
  tls: async () => (await import('@libp2p/tls')).tls(),
};
export const muxers = {
  yamux: async () => (await import('@chainsafe/libp2p-yamux')).yamux(),
  mplex: async () => (await import('@libp2p/mplex')).mplex(),
};
export const services = () => ({ identify: identify(), ping: ping() });

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
