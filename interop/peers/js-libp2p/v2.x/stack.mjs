// js-libp2p 2: every transport, secure channel and muxer it has on Node.js.
import { noise } from '@chainsafe/libp2p-noise';
import { quic } from '@chainsafe/libp2p-quic';
import { yamux } from '@chainsafe/libp2p-yamux';
import { identify } from '@libp2p/identify';
import { mplex } from '@libp2p/mplex';
import { PING_PROTOCOL, ping as pingService } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { tls } from '@libp2p/tls';
import { webSockets } from '@libp2p/websockets';
import { multiaddr as parse } from '@multiformats/multiaddr';
import { createLibp2p as create } from 'libp2p';
import { selfSigned } from './certificate.mjs';

export const createLibp2p = create;
export const multiaddr = parse;

export const transports = {
  'quic-v1': () => quic(),
  tcp: () => tcp(),
  ws: () => webSockets(),
  wss: async (dialer) =>
    webSockets(
      dialer ? { websocket: { rejectUnauthorized: false } } : { https: await selfSigned() },
    ),
};
export const secureChannels = { noise, tls };
export const muxers = { yamux, mplex };
export const services = () => ({ identify: identify(), ping: pingService() });

/** One ping on a stream of its own: its round trip in ms, finer than the ping service reports. */
export const ping = async (connection, signal) => {
  const stream = await connection.newStream(PING_PROTOCOL, { signal });
  const { promise: done, resolve: finish } = Promise.withResolvers();
  const start = performance.now();
  const pong = (async () => {
    let left = 32;
    for await (const chunk of stream.source) {
      left -= chunk.byteLength;
      if (left <= 0) return performance.now() - start;
    }
    throw new Error('the ping stream was closed');
  })();
  // The sink stays open until the answer is there: its end would close the stream for writing.
  const sent = stream.sink(
    (async function* () {
      yield crypto.getRandomValues(new Uint8Array(32));
      await done;
    })(),
  );
  const expired = new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('no ping in time')));
  });
  try {
    return await Promise.race([pong, sent.then(() => pong), expired]);
  } finally {
    finish();
  }
};
