/**
 * Listens with a protocol of its own, /upper/1, which answers in upper case. Ends with Ctrl-C.
 *
 *   node examples/listen.ts [multiaddr]
 */

import { once } from 'node:events';
import { createNode, writeAll } from 'libp2p-lean';

const [address = '/ip4/127.0.0.1/udp/0/quic-v1'] = process.argv.slice(2);

await using node = await createNode();
node.addEventListener('connection:open', ({ detail: { connection } }) =>
  console.error(`${connection.remotePeer} is connected over ${connection.description}`),
);
node.handle('/upper/1', async (stream) => {
  for await (const chunk of stream) {
    const text = new TextDecoder('latin1').decode(chunk).toUpperCase();
    // Waits while the peer does not read.
    await writeAll(stream, Buffer.from(text, 'latin1'));
  }
  stream.closeWrite();
});
await node.listen(address);
for (const reachable of node.addresses()) console.log(String(reachable));
await once(process, 'SIGINT');
