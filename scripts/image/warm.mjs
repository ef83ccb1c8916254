// Fills the image's code caches: `node …/warm.mjs /app/bin/libp2p-lean` runs a listener and a
// dialer of every stack of the matrices, each a process of its own, which leaves its cache when it ends.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';

const [launcher] = process.argv.slice(2);
const TIMEOUT = 60;

const STACKS = [
  { TRANSPORT: 'quic-v1' },
  ...['tcp', 'ws', 'wss'].flatMap((TRANSPORT) =>
    ['noise', 'tls'].flatMap((SECURE_CHANNEL) =>
      ['yamux', 'mplex'].map((MUXER) => ({ TRANSPORT, SECURE_CHANNEL, MUXER })),
    ),
  ),
];

/** As much of Redis as a rendezvous needs: every key is one list that is never used up. */
const startRendezvous = async () => {
  const lists = new Map();
  const listOf = (key) => {
    if (!lists.has(key)) lists.set(key, Promise.withResolvers());
    return lists.get(key);
  };
  const bulk = (text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
  const answer = async (command, key, value) => {
    switch (command) {
      case 'TYPE':
        return '+list\r\n';
      case 'RPUSH':
        listOf(key).resolve(value);
        return ':1\r\n';
      case 'BLPOP':
        return `*2\r\n${bulk(key)}${bulk(await listOf(key).promise)}`;
      default:
        return ':0\r\n';
    }
  };
  const server = createServer((socket) => {
    let text = '';
    let last = Promise.resolve();
    socket.on('error', () => undefined);
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      for (;;) {
        const header = /^\*(\d+)\r\n/.exec(text);
        if (header === null) return;
        const command = new RegExp(
          `^\\*\\d+\\r\\n(?:\\$\\d+\\r\\n([^\\r]*)\\r\\n){${header[1]}}`,
        ).exec(text);
        if (command === null) return;
        text = text.slice(command[0].length);
        const words = command[0].split('\r\n').filter((_, i) => i > 0 && i % 2 === 0);
        last = last.then(
          async () => void socket.write(await answer(words[0].toUpperCase(), ...words.slice(1))),
        );
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${server.address().port}`;
};

const redis = await startRendezvous();

const start = (variables) =>
  spawn(process.execPath, [...process.execArgv, launcher], {
    env: { ...process.env, LISTENER_IP: '127.0.0.1', REDIS_ADDR: redis, ...variables },
    stdio: ['ignore', 'ignore', 'inherit'],
  });

/** @throws when it does not end with 0. */
const end = async (name, child) => {
  const [code, signal] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the ${name} ended with ${code ?? signal}`);
};

try {
  for (const stack of STACKS) {
    const test = { ...stack, TEST_KEY: Object.values(stack).join('-'), TEST_TIMEOUT_SECS: TIMEOUT };
    const listener = start({ ...test, IS_DIALER: 'false' });
    const listenerEnds = end(`listener over ${test.TEST_KEY}`, listener);
    await Promise.race([
      listenerEnds,
      end(`dialer over ${test.TEST_KEY}`, start({ ...test, IS_DIALER: 'true' })),
    ]);
    listener.kill('SIGTERM');
    await listenerEnds;
  }
  process.exit(0);
} catch (error) {
  console.error('warm:', error.message);
  process.exit(1);
}
