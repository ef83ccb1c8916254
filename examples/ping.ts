/**
 * Dials a peer, pings it and asks who it is.
 *
 *   node examples/ping.ts /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
 */

import { createNode, identify, ping } from 'libp2p-lean';

const [address] = process.argv.slice(2);
if (address === undefined) throw new Error('usage: node examples/ping.ts <multiaddr>');

await using node = await createNode();
const connection = await node.dial(address, { signal: AbortSignal.timeout(10_000) });
const milliseconds = await ping(connection);
const { agentVersion } = await identify(connection);
console.log(`${connection.remotePeer} (${agentVersion}) over ${connection.description}`);
console.log(`${milliseconds.toFixed(2)} ms`);
