/**
 * A js-libp2p 3 node over our QUIC: pings another, or waits to be pinged.
 *
 *   npm i libp2p-lean libp2p @libp2p/crypto @libp2p/interface @libp2p/peer-id @libp2p/utils @libp2p/identify @libp2p/ping
 *   node examples/js-libp2p.ts                 prints its address, ends when the first peer has left
 *   node examples/js-libp2p.ts <multiaddr>
 */

import { identify } from '@libp2p/identify';
import { ping } from '@libp2p/ping';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { quic } from 'libp2p-lean/js-libp2p';

const [address] = process.argv.slice(2);

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] },
  transports: [quic()],
  services: { identify: identify(), ping: ping() },
});

if (address === undefined) {
  const left = new Promise((resolve) => node.addEventListener('peer:disconnect', resolve));
  console.log(String(node.getMultiaddrs()[0]));
  await left;
} else {
  const milliseconds = await node.services.ping.ping(multiaddr(address));
  console.log(`${node.getPeers()[0]} answered in ${milliseconds} ms`);
}
await node.stop();
