/**
 * Dialers whose connections stay idle, for memory.ts.
 *
 *     node bench/idle-dialers.ts <nodes>
 *
 * Creates so many nodes and prints `ready`. Then, for each line of stdin: `<count> <address>` dials until
 * there are that many connections to the address, one for each node, and prints their number, or the
 * error; `0` closes them all and prints how many the listener had closed before.
 */

import { createInterface } from 'node:readline';
import { createProgram, whole } from '../interop/command-line.ts';
import type { Connection } from '../src/connection.ts';
import { messageOf } from '../src/errors.ts';
import { createNode, type LeanNode } from '../src/node/node.ts';
import { quic } from '../src/transports/factories.ts';

/** Dials at a time. */
const PARALLEL = 8;

const program = createProgram('idle-dialers', 'Dialers whose connections stay idle, for memory.ts.')
  .argument('<nodes>', 'how many', whole(1, 1e5))
  .parse();
const [wanted = 0] = program.processedArgs as number[];
const nodes: LeanNode[] = [];
while (nodes.length < wanted)
  nodes.push(await createNode({ transports: [quic({ engine: 'quiche' })] }));
console.log('ready');

const open = new Set<Connection>();
let lost = 0;

const dial = async (node: LeanNode, address: string): Promise<void> => {
  const connection = await node.dial(address);
  open.add(connection);
  connection.closed.then(() => {
    if (open.delete(connection)) lost++;
  });
};

const dialUntil = async (count: number, address: string): Promise<void> => {
  const idle = nodes.slice(open.size, count);
  const next = async (): Promise<void> => {
    for (let node = idle.shift(); node !== undefined; node = idle.shift()) {
      await dial(node, address);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, next));
};

const closeAll = async (): Promise<void> => {
  const connections = [...open];
  open.clear();
  await Promise.all(connections.map((connection) => connection.close()));
};

for await (const line of createInterface({ input: process.stdin })) {
  const [count, address] = line.split(' ');
  if (address === undefined) {
    await closeAll();
    console.log(lost);
    lost = 0;
  } else {
    try {
      await dialUntil(Number(count), address);
      console.log(open.size);
    } catch (error) {
      console.log(messageOf(error));
    }
  }
}
process.exit(0);
