// Fills the image's compile cache: `node --import …/docker-warm.mjs /app/bin/libp2p-lean` runs one
// listener and a dialer of each dialect in a single process, so that what the cache holds are the
// functions that either role needs. The launcher writes the cache once, when the process ends.
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { pathToFileURL } from 'node:url';

// Beside the launcher that this process runs; loaded by it already.
const CLI = new URL('../dist/cli.cjs', pathToFileURL(realpathSync(process.argv[1])));
const TIMEOUT = 60;

/** As much of Redis as a rendezvous needs: every key is one list that is never used up. */
const startRendezvous = async () => {
  const published = Promise.withResolvers();
  const bulk = (text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
  const answer = async (command, key, value) => {
    switch (command) {
      case 'TYPE':
        return '+list\r\n';
      case 'RPUSH':
        published.resolve(value);
        return ':1\r\n';
      case 'BLPOP':
        return `*2\r\n${bulk(key)}${bulk(await published.promise)}`;
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
  server.listen(0, '127.0.0.1').unref();
  await once(server, 'listening');
  return { address: `127.0.0.1:${server.address().port}`, published: published.promise };
};

const { address, published } = await startRendezvous();

const DIALECTS = {
  unified: (isDialer) => ({
    IS_DIALER: isDialer,
    TRANSPORT: 'quic-v1',
    LISTENER_IP: '127.0.0.1',
    REDIS_ADDR: address,
    TEST_KEY: 'a5b50d5e',
    TEST_TIMEOUT_SECS: TIMEOUT,
  }),
  legacy: (isDialer) => ({
    is_dialer: isDialer,
    transport: 'quic-v1',
    ip: '127.0.0.1',
    redis_addr: address,
    test_timeout_seconds: TIMEOUT,
  }),
};

const setEnvironment = (dialect, isDialer) => {
  for (const vars of Object.values(DIALECTS)) {
    for (const name of Object.keys(vars(false))) delete process.env[name];
  }
  Object.assign(process.env, DIALECTS[dialect](isDialer));
};

const exit = process.exit.bind(process);
/** A role ends the process: here, it ends the wait for it. */
let ended;
process.exit = (code) => {
  if (ended === undefined) exit(code ?? 1);
  ended.resolve(code);
  // What called this believes that it is over.
  return new Promise(() => undefined);
};

// The launcher starts the listener as soon as this module is done.
setEnvironment('unified', false);

const dial = async () => {
  const remote = await published;
  for (const dialect of Object.keys(DIALECTS)) {
    ended = Promise.withResolvers();
    setEnvironment(dialect, true);
    const { main } = await import(CLI);
    main([]).catch(ended.reject);
    const code = await ended.promise;
    if (code !== 0) throw new Error(`the ${dialect} dialer of ${remote} ended with ${code}`);
  }
};

dial().then(
  () => exit(0),
  (error) => {
    console.error('docker-warm:', error);
    exit(1);
  },
);
