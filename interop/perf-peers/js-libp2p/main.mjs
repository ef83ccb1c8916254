// A perf peer on js-libp2p with the project's development dependencies; ../README.md says how it is
// driven.
import { createInterface } from 'node:readline';
import { noise } from '@chainsafe/libp2p-noise';
import { quic } from '@chainsafe/libp2p-quic';
import { yamux } from '@chainsafe/libp2p-yamux';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';

const PERF = '/perf/1.0.0';
const ZEROS = new Uint8Array(64 * 1024);
const TIMEOUT = 300_000;

const createNode = (...listen) =>
  createLibp2p({
    addresses: { listen },
    transports: [quic(), tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // It would refuse most of a hundred handshakes in a row.
    connectionManager: { maxConnections: 1000, inboundConnectionThreshold: 1e9 },
    connectionMonitor: { enabled: false },
  });

const sendZeros = async (stream, count) => {
  let left = count;
  while (left > 0) {
    const chunk = left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS;
    left -= chunk.length;
    if (!stream.send(chunk)) await stream.onDrain({ signal: AbortSignal.timeout(TIMEOUT) });
  }
};

/**
 * Hands every chunk to `take` until the other side has ended. (Iterating over the stream waits for an
 * end that has already come, as it has when proposal, request and end arrive together.)
 */
const readAll = (stream, take) =>
  new Promise((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => take(data));
    stream.addEventListener('end', () => resolve());
    stream.addEventListener('close', ({ error }) => (error ? reject(error) : resolve()));
    if (stream.readableEnded) resolve();
  });

const serve = async (stream) => {
  try {
    const head = new Uint8Array(8);
    let received = 0;
    await readAll(stream, (chunk) => {
      if (received < 8) head.set(chunk.subarray(0, 8 - received), received);
      received += chunk.byteLength;
    });
    await sendZeros(stream, Number(new DataView(head.buffer).getBigUint64(0)));
    await stream.close();
  } catch (error) {
    process.stderr.write(`serving: ${error.message}\n`);
    stream.abort(error);
  }
};

const transfer = async (connection, up, down) => {
  const stream = await connection.newStream(PERF);
  const head = new Uint8Array(8);
  new DataView(head.buffer).setBigUint64(0, BigInt(down));
  if (!stream.send(head)) await stream.onDrain();
  await sendZeros(stream, up);
  await stream.close();
  let got = 0;
  await readAll(stream, (chunk) => {
    got += chunk.byteLength;
  });
  if (got !== down) throw new Error(`got ${got} of ${down} bytes`);
};

const listen = async (transport) => {
  const address = transport === 'quic-v1' ? '/udp/0/quic-v1' : '/tcp/0';
  const node = await createNode(`/ip4/127.0.0.1${address}`);
  await node.handle(PERF, serve, { maxInboundStreams: 1000, maxOutboundStreams: 1000 });
  process.stdout.write(`${node.getMultiaddrs()[0]}\n`);
  process.stdin.resume().once('end', () => process.exit(0));
};

const dial = async (to) => {
  const node = await createNode();
  const address = multiaddr(to);
  const connect = () => node.dial(address, { signal: AbortSignal.timeout(TIMEOUT) });
  const repeat = async (count, one) => {
    const times = [];
    while (times.length < count) {
      const start = performance.now();
      const after = await one();
      times.push(performance.now() - start);
      await after?.();
    }
    return times;
  };
  const commands = {
    transfer: async (up, down, streams) => {
      const connection = await connect();
      const start = performance.now();
      await Promise.all(Array.from({ length: streams }, () => transfer(connection, up, down)));
      return performance.now() - start;
    },
    roundtrips: async (count) => {
      const connection = await connect();
      return repeat(count, () => transfer(connection, 1, 1));
    },
    handshakes: (count) =>
      repeat(count, async () => {
        const connection = await connect();
        await transfer(connection, 1, 1);
        return () => connection.close();
      }),
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...numbers] = line.split(' ');
    try {
      await node.hangUp(address);
      const ms = await commands[command](...numbers.map(Number));
      process.stdout.write(`${JSON.stringify({ ms })}\n`);
    } catch (error) {
      process.stdout.write(`${JSON.stringify({ error: error.message })}\n`);
    }
  }
  process.exit(0);
};

const [role, what] = process.argv.slice(2);
await (role === 'listen' ? listen(what) : dial(what));
