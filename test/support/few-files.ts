/**
 * A node on all interfaces, in a process that may have few file descriptors. Prints its port; for each line on stdin it
 * handles a protocol of that name, and prints it when it has told its peers of it, or has failed. Ends when its stdin does.
 */

import { createInterface } from 'node:readline';
import { hostOf } from '../../src/multiaddr.ts';
import { createNode } from '../../src/node/node.ts';
import { tcp } from '../../src/transports/factories.ts';

const node = await createNode({
  transports: [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })],
});
const { address } = await node.listen('/ip4/0.0.0.0/tcp/0');
process.stdout.write(`${hostOf(address).port}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  node.handle(line, async () => {});
  // Changes are gathered for 100 ms.
  await new Promise((resolve) => setTimeout(resolve, 200));
  process.stdout.write(`${line}\n`);
}
await node.close();
