// The yardstick: js-libp2p 3 with @chainsafe/libp2p-quic (quinn) as a participant of the unified
// dialect, listener and dialer. It loads nothing that a QUIC participant does not need, and speaks to
// Redis over a bare socket, so that what is measured is js-libp2p.
import { connect } from 'node:net';
import { quic } from '@chainsafe/libp2p-quic';
import { identify } from '@libp2p/identify';
import { PING_PROTOCOL, ping } from '@libp2p/ping';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';

// An orderly end also writes the compile cache.
process.once('SIGTERM', () => process.exit(0));

const { IS_DIALER, LISTENER_IP, REDIS_ADDR = '', TEST_KEY } = process.env;
const key = `${TEST_KEY}_listener_multiaddr`;
const dialer = IS_DIALER === 'true';

/** Sends one command to Redis; resolves with the reply as it is. */
const redis = (...words) =>
  new Promise((resolve, reject) => {
    const [host, port] = REDIS_ADDR.split(':');
    const socket = connect(Number(port), host);
    const body = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
    socket.once('data', (reply) => {
      socket.destroy();
      resolve(reply.toString());
    });
    socket.once('error', reject);
    socket.write(`*${words.length}\r\n${body}`);
  });

const start = () =>
  createLibp2p({
    addresses: { listen: dialer ? [] : [`/ip4/${LISTENER_IP}/udp/0/quic-v1`] },
    transports: [quic()],
    services: { identify: identify(), ping: ping() },
    // A thousand connections from one host are more than a node takes by default.
    connectionManager: {
      maxConnections: 10_000,
      maxIncomingPendingConnections: 1_000,
      inboundConnectionThreshold: 10_000,
    },
  });

/** Pings on one stream, as often as wanted: ms, finer than the ping service reports. */
const openPing = async (connection) => {
  const stream = await connection.newStream(PING_PROTOCOL);
  let pong;
  stream.addEventListener('message', ({ data }) => {
    if (data.byteLength === 32) pong();
  });
  return () =>
    new Promise((resolve, reject) => {
      const began = performance.now();
      pong = () => resolve(performance.now() - began);
      stream.addEventListener('close', () => reject(new Error('the ping stream was closed')));
      stream.send(crypto.getRandomValues(new Uint8Array(32)));
    });
};

if (dialer) {
  const [reply, node] = await Promise.all([redis('BLPOP', key, '60'), start()]);
  const address = multiaddr(/\/ip4\/\S+/.exec(reply)[0]);
  const began = performance.now();
  const connection = await node.dial(address);
  const pingOnce = await openPing(connection);
  await pingOnce();
  const total = performance.now() - began;
  const rtt = await pingOnce();
  process.stdout.write(
    `latency:\n  handshake_plus_one_rtt: ${total.toFixed(3)}\n  ping_rtt: ${rtt.toFixed(3)}\n  unit: ms\n`,
    () => process.exit(0),
  );
} else {
  const node = await start();
  await redis('RPUSH', key, String(node.getMultiaddrs()[0]));
}
