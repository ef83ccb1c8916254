// The yardstick of quic-throughput.ts: js-libp2p 3 with @chainsafe/libp2p-quic (quinn), called like
// quic-perf.ts. It reads through message events and writes chunks that cross its native binding whole,
// without a copy and without a round of queueing per chunk: nothing that its streams offer is faster.
import { quic } from '@chainsafe/libp2p-quic';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { measureTransfers } from './support/transfers.ts';

const PERF = '/perf/1.0.0';
const CHUNK = new Uint8Array(256 * 1024);
const [role, address, pid, bytes] = process.argv.slice(2);

const write = async (stream, count) => {
  for (let left = count; left > 0; left -= CHUNK.length) {
    const room = stream.send(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK);
    if (!room) await stream.onDrain();
  }
};

/** Resolves with the number of bytes when the peer's side has ended. */
const read = (stream, onChunk) =>
  new Promise((resolve, reject) => {
    let count = 0;
    stream.addEventListener('message', ({ data }) => {
      onChunk?.(data);
      count += data.byteLength;
    });
    stream.addEventListener('remoteCloseWrite', () => resolve(count));
    stream.addEventListener('close', ({ error }) => (error ? reject(error) : resolve(count)));
  });

const handle = async (stream) => {
  let head;
  await read(stream, (data) => {
    head ??= data.subarray(0, 8);
  });
  await write(stream, Number(new DataView(head.buffer, head.byteOffset).getBigUint64(0)));
  await stream.close();
};

const node = await createLibp2p({
  addresses: { listen: role === 'listen' ? ['/ip4/127.0.0.1/udp/0/quic-v1'] : [] },
  transports: [quic()],
});
if (role === 'listen') {
  await node.handle(PERF, (stream) => {
    handle(stream).catch((error) => stream.abort(error));
  });
  console.log(String(node.getMultiaddrs()[0]));
} else {
  const connection = await node.dial(multiaddr(address));
  const perf = async (up, down) => {
    const stream = await connection.newStream(PERF);
    const received = read(stream);
    const head = new DataView(new ArrayBuffer(8));
    head.setBigUint64(0, BigInt(down));
    stream.send(new Uint8Array(head.buffer));
    await write(stream, up);
    await stream.close();
    if ((await received) !== down) throw new Error('the listener sent less than asked for');
  };
  console.log(JSON.stringify(await measureTransfers(perf, Number(bytes), Number(pid))));
  process.exit(0);
}
