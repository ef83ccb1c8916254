// A perf peer on js-libp2p 3, on the project's development dependencies; ../README.md says how it is
// driven.
import { createInterface } from 'node:readline';
import { createNode } from '../../peers/js-libp2p/node.mjs';

const PERF = '/perf/1.0.0';
const ZEROS = new Uint8Array(64 * 1024);
const TIMEOUT = 300_000;

/** @param words `quic-v1`, or `tcp`, `ws`, `wss`, with `/<secure channel>/<muxer>` where not noise and yamux */
const startNode = async (words, listenIp) => {
  const [transport, secureChannel = 'noise', muxer = 'yamux'] = words.split('/');
  // To be set before the stack is loaded: the certificate of a wss listener is self-signed, the secure
  // channel inside it authenticates the peer.
  if (transport === 'wss') process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  const stack = await import('../../peers/js-libp2p/v3.x/stack.mjs');
  const combination = transport === 'quic-v1' ? { transport } : { transport, secureChannel, muxer };
  const options = { connectionMonitor: { enabled: false } };
  return { stack, node: await createNode(stack, combination, listenIp, options) };
};

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

const listen = async (words) => {
  const { node } = await startNode(words, '127.0.0.1');
  await node.handle(PERF, serve, { maxInboundStreams: 1000, maxOutboundStreams: 1000 });
  process.stdout.write(`${node.getMultiaddrs()[0]}\n`);
  process.stdin.resume().once('end', () => process.exit(0));
};

const dial = async (to, words = to.includes('/quic-v1') ? 'quic-v1' : 'tcp') => {
  const { stack, node } = await startNode(words);
  const address = stack.multiaddr(to);
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

const [role, ...words] = process.argv.slice(2);
await (role === 'listen' ? listen(...words) : dial(...words));
