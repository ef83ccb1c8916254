/**
 * A contestant of quic-throughput.ts: our node with one QUIC engine.
 *
 *     node bench/quic-perf.ts <engine> listen                          prints its address
 *     node bench/quic-perf.ts <engine> dial <address> <pid> <bytes>    prints the `Transfers`
 */

import { createNode } from '../src/node/node.ts';
import { handlePerf, PERF, perf } from '../src/protocols/perf.ts';
import { measureTransfers } from './support/transfers.ts';

const [engine, role, address = '', pid, bytes] = process.argv.slice(2);
if (engine !== 'quiche' && engine !== 'node') throw new Error('engine: quiche or node');
const node = await createNode({ quicEngine: engine });
if (role === 'listen') {
  node.handle(PERF, async (stream) => {
    await handlePerf(stream);
  });
  console.log(String(await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')));
} else {
  const connection = await node.dial(address);
  const transfer = async (up: number, down: number) =>
    perf(await node.openStream(connection, PERF), up, down);
  console.log(JSON.stringify(await measureTransfers(transfer, Number(bytes), Number(pid))));
  await node.close();
  process.exit(0);
}
