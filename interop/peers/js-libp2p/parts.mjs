// Every transport, secure channel and muxer that js-libp2p has on Node.js, each loaded when it is used.
import { selfSigned } from './certificate.mjs';

/**
 * @param load imports a package from the node_modules of the version
 * @param options `noise`, `yamux`: the names of these packages; `insecureWss`: the options with which a
 *   wss dialer takes a self-signed certificate
 */
export const partsOf = (load, { noise, yamux, insecureWss }) => ({
  transports: {
    'quic-v1': async () => (await load('@chainsafe/libp2p-quic')).quic(),
    tcp: async () => (await load('@libp2p/tcp')).tcp(),
    ws: async () => (await load('@libp2p/websockets')).webSockets(),
    wss: async (listen) => {
      const { webSockets } = await load('@libp2p/websockets');
      if (!listen) return webSockets(insecureWss);
      // x509 needs it to be loaded first.
      await load('reflect-metadata');
      return webSockets({ https: await selfSigned(await load('@peculiar/x509')) });
    },
  },
  secureChannels: {
    noise: async () => (await load(noise)).noise(),
    tls: async () => (await load('@libp2p/tls')).tls(),
  },
  muxers: {
    yamux: async () => (await load(yamux)).yamux(),
    mplex: async () => (await load('@libp2p/mplex')).mplex(),
  },
});
