// js-libp2p 3: every transport, secure channel and muxer it has on Node.js.
import { quic } from '@chainsafe/libp2p-quic';
import { identify } from '@libp2p/identify';
import { mplex } from '@libp2p/mplex';
import { noise } from '@libp2p/noise';
import { PING_PROTOCOL, ping as pingService } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { tls } from '@libp2p/tls';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { multiaddr as parse } from '@multiformats/multiaddr';
import { createLibp2p as create } from 'libp2p';
import { selfSigned } from './certificate.mjs';

export const createLibp2p = create;
export const multiaddr = parse;

export const transports = {
  'quic-v1': () => quic(),
  tcp: () => tcp(),
  ws: () => webSockets(),
  wss: async (dialer) => (dialer ? webSockets() : webSockets({ https: await selfSigned() })),
};
export const secureChannels = { noise, tls };
export const muxers = { yamux, mplex };
export const services = () => ({ identify: identify(), ping: pingService() });

/** One ping on a stream of its own: its round trip in ms, finer than the ping service reports. */
export const ping = async (connection, signal) => {
  const stream = await connection.newStream(PING_PROTOCOL, { signal });
  const start = performance.now();
  let left = 32;
  const pong = new Promise((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => {
      left -= data.byteLength;
      if (left <= 0) resolve(performance.now() - start);
    });
    stream.addEventListener('close', (event) =>
      reject(event.error ?? new Error('the ping stream was closed')),
    );
    signal.addEventListener('abort', () => reject(new Error('no ping in time')));
  });
  stream.send(crypto.getRandomValues(new Uint8Array(left)));
  return pong;
};
