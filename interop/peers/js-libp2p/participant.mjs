// An interop participant on js-libp2p: the part that does not depend on its version.
//
// It obeys both harness dialects (docs/peers.md): stdout carries the dialer's result and nothing
// else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a combination that
// exists in the matrix but not here.
import { connect, isIP } from 'node:net';
import { createNode, Unsupported } from './node.mjs';

const TRANSPORTS = [
  'quic-v1',
  'quic',
  'tcp',
  'ws',
  'wss',
  'webtransport',
  'webrtc-direct',
  'webrtc',
];
const LAYERED = ['tcp', 'ws', 'wss'];
const SECURE_CHANNELS = ['noise', 'tls', 'plaintext'];
const MUXERS = ['yamux', 'mplex'];
/** Longest Redis reply taken, in bytes. A multiaddr is far shorter. */
const LONGEST_REPLY = 1 << 16;

/** An error that chooses its exit code. */
class Exit extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** An environment variable's value; unset, empty and `null` are the same. */
const variable = (name) => {
  const value = process.env[name]?.trim();
  return value === '' || value === 'null' ? undefined : value;
};

const oneOf = (name, known) => {
  const value = variable(name);
  if (value === undefined) throw new Exit(2, `${name} is not set`);
  if (!known.includes(value))
    throw new Exit(2, `${name}=${value}: want one of ${known.join(', ')}`);
  return value;
};

/** What the environment asks for, whichever dialect it speaks. */
const configure = () => {
  const unified = variable('IS_DIALER') !== undefined || variable('is_dialer') === undefined;
  const name = (unifiedName, legacyName) => (unified ? unifiedName : legacyName);
  const dialer = oneOf(name('IS_DIALER', 'is_dialer'), ['true', 'false']) === 'true';
  const transport = oneOf(name('TRANSPORT', 'transport'), TRANSPORTS);
  const layered = LAYERED.includes(transport);
  const secureChannel = layered
    ? oneOf(name('SECURE_CHANNEL', 'security'), SECURE_CHANNELS)
    : undefined;
  const muxer = layered ? oneOf(name('MUXER', 'muxer'), MUXERS) : undefined;
  const ip = variable(name('LISTENER_IP', 'ip')) ?? '0.0.0.0';
  if (isIP(ip) === 0) throw new Exit(2, `${name('LISTENER_IP', 'ip')}=${ip}: not an IP address`);
  const seconds = variable(name('TEST_TIMEOUT_SECS', 'test_timeout_seconds')) ?? '180';
  if (!(Number(seconds) > 0 && Number(seconds) < 1e6)) {
    throw new Exit(
      2,
      `${name('TEST_TIMEOUT_SECS', 'test_timeout_seconds')}=${seconds}: not a number of seconds`,
    );
  }
  const testKey = variable('TEST_KEY');
  if (unified && testKey === undefined) throw new Exit(2, 'TEST_KEY is not set');
  return {
    unified,
    dialer,
    transport,
    secureChannel,
    muxer,
    ip,
    redis: variable(name('REDIS_ADDR', 'redis_addr')) ?? 'redis:6379',
    key: unified ? `${testKey}_listener_multiaddr` : 'listenerAddr',
    signal: AbortSignal.timeout(Number(seconds) * 1000),
    debug: unified && variable('DEBUG') === 'true',
  };
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The little of Redis that a rendezvous needs: one command, one reply (RESP2). */
class Redis {
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting;
  #error;

  constructor(socket) {
    this.#socket = socket;
    const fail = (error) => {
      this.#error ??= error ?? new Error('redis closed the connection');
      this.#waiting?.reject(this.#error);
    };
    socket.on('error', fail);
    socket.on('close', () => fail());
    socket.on('data', (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data]);
      try {
        this.#parse();
      } catch (error) {
        fail(error);
        socket.destroy();
      }
    });
  }

  /** Connects, trying again until the signal aborts: Redis may start after us. */
  static async connect(address, signal) {
    const [host, port = '6379'] = address
      .replace(/^redis:\/\//, '')
      .replace(/\/$/, '')
      .split(/:(?=\d+$)/);
    for (;;) {
      const socket = connect({ host: host.replace(/^\[|\]$/g, ''), port: Number(port), signal });
      const error = await new Promise((resolve) =>
        socket.once('connect', resolve).once('error', resolve),
      );
      if (error === undefined) return new Redis(socket);
      if (signal.aborted) throw new Error(`redis at ${address}: no answer in time`);
      await pause(100);
    }
  }

  command(...words) {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      const body = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
      this.#socket.write(`*${words.length}\r\n${body.join('')}`);
    });
  }

  #parse() {
    const end = this.#buffer.indexOf('\r\n');
    if (end === -1 && this.#buffer.length < LONGEST_REPLY) return;
    const line = this.#buffer.toString('utf8', 0, end);
    const take = (length, value) => {
      this.#buffer = this.#buffer.subarray(length);
      this.#waiting?.resolve(value);
      this.#waiting = undefined;
    };
    if (line === '$-1') return take(end + 2, undefined);
    if (/^[+:]/.test(line)) return take(end + 2, line.slice(1));
    const length = /^\$\d+$/.test(line) ? Number(line.slice(1)) : Number.POSITIVE_INFINITY;
    if (length > LONGEST_REPLY)
      throw new Error(`redis answered ${JSON.stringify(line.slice(0, 200))}`);
    if (this.#buffer.length < end + 4 + length) return;
    take(end + 4 + length, this.#buffer.toString('utf8', end + 2, end + 2 + length));
  }

  close() {
    this.#socket.destroy();
  }
}

/** Waits for the listener's address, which is a list in one suite and a string in another. */
const fetchAddress = async (config) => {
  const redis = await Redis.connect(config.redis, config.signal);
  try {
    while (!config.signal.aborted) {
      const kind = await redis.command('TYPE', config.key);
      const read = { list: 'LPOP', string: 'GET' }[kind];
      const value = read && (await redis.command(read, config.key));
      if (value !== undefined) return value;
      await pause(20);
    }
    throw new Error(`no listener address under ${config.key} in time`);
  } finally {
    redis.close();
  }
};

const publish = async (config, address) => {
  const redis = await Redis.connect(config.redis, config.signal);
  if (config.unified) await redis.command('DEL', config.key);
  await redis.command('RPUSH', config.key, address);
  redis.close();
};

const dial = async (config, stack, node) => {
  const address = await fetchAddress(config);
  if (config.debug) console.error('dialling', address);
  const start = performance.now();
  const connection = await node.dial(stack.multiaddr(address), { signal: config.signal });
  const ping = await stack.openPing(connection, config.signal);
  await ping();
  const total = performance.now() - start;
  const rtt = await ping();
  process.stdout.write(
    config.unified
      ? `latency:\n  handshake_plus_one_rtt: ${total.toFixed(3)}\n  ping_rtt: ${rtt.toFixed(3)}\n  unit: ms\n`
      : `{"handshakePlusOneRTTMillis": ${total.toFixed(3)}, "pingRTTMilllis": ${rtt.toFixed(3)}}\n`,
  );
};

const listen = async (config, node) => {
  // An orderly end also writes Node.js's compile cache.
  process.once('SIGTERM', () => process.exit(0));
  const addresses = node.getMultiaddrs().map(String);
  const address = addresses.find((a) => !/^\/(ip4\/127\.|ip6\/::1\/)/.test(a)) ?? addresses[0];
  if (address === undefined) throw new Error('no listen address');
  if (config.debug) console.error('listening on', address);
  await publish(config, address);
  await new Promise((resolve) => config.signal.addEventListener('abort', resolve));
  throw new Error('nobody ended this listener in time');
};

const run = async (load) => {
  const config = configure();
  // Both must be set before the stack is loaded; a wss certificate is self-signed, the secure
  // channel inside it authenticates the peer.
  if (config.debug) process.env.DEBUG = 'libp2p:*,-libp2p:*:trace';
  if (config.transport === 'wss') process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  const stack = await load();
  const listenIp = config.dialer ? undefined : config.ip;
  const node = await createNode(stack, config, listenIp, { services: stack.services() });
  await (config.dialer ? dial(config, stack, node) : listen(config, node));
};

/** Runs as the environment says, with the js-libp2p that `load` brings, then ends the process. */
export const participate = async (load) => {
  try {
    await run(load);
    process.exit(0);
  } catch (error) {
    const code = error instanceof Unsupported ? 127 : error instanceof Exit ? error.code : 1;
    console.error(code === 1 ? error : error.message);
    process.exit(code);
  }
};
