// `make run`: a listener and a dialer, two processes, meet over a real Redis and ping over QUIC; once
// in each harness dialect. Prints what each printed, and what it means.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const bin = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'bin', 'libp2p-lean');
const TIMEOUT = 30;

const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => process.exit(1));

const start = (command, args, options) => {
  const child = spawn(command, args, options);
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
};

const freePort = async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
};

const startRedis = async (port) => {
  const args = ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const redis = start('redis-server', args.map(String), { stdio: 'ignore' });
  redis.on('error', (error) => {
    console.error(`redis-server: ${error.message}`);
    process.exit(1);
  });
  for (let i = 0; i < 500; i++) {
    const up = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true));
      socket.on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (up) return;
    await delay(10);
  }
  throw new Error('redis-server did not come up');
};

const environmentOf = (dialect, isDialer, redis) =>
  dialect === 'unified'
    ? {
        IS_DIALER: String(isDialer),
        TRANSPORT: 'quic-v1',
        LISTENER_IP: '0.0.0.0',
        REDIS_ADDR: redis,
        TEST_KEY: 'a5b50d5e',
        TEST_TIMEOUT_SECS: String(TIMEOUT),
      }
    : {
        is_dialer: String(isDialer),
        transport: 'quic-v1',
        ip: '0.0.0.0',
        redis_addr: redis,
        test_timeout_seconds: String(TIMEOUT),
      };

const runRole = (dialect, isDialer, redis) =>
  start(bin, [], {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      ...environmentOf(dialect, isDialer, redis),
      ...engine(),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });

const engine = () =>
  Object.fromEntries(
    ['QUIC_ENGINE', 'NODE_QUIC', 'DEBUG'].flatMap((name) =>
      process.env[name] ? [[name, process.env[name]]] : [],
    ),
  );

const runTest = async (dialect, redis) => {
  const listener = runRole(dialect, false, redis);
  const dialer = runRole(dialect, true, redis);
  let report = '';
  dialer.stdout.on('data', (chunk) => {
    report += chunk;
  });
  const [code] = await once(dialer, 'exit');
  const ended = once(listener, 'exit');
  listener.kill('SIGTERM');
  const [listenerCode] = await ended;
  console.log(`  dialer (exit code ${code}):`);
  console.log(report.trimEnd().replace(/^/gm, '    '));
  console.log(`  listener, ended by SIGTERM (exit code ${listenerCode})\n`);
  return code === 0 && listenerCode === 0;
};

const port = await freePort();
await startRedis(port);
const redis = `127.0.0.1:${port}`;
console.log(`Redis runs on ${redis}.\n`);
let passed = true;
for (const [dialect, whose] of [
  ['unified', 'libp2p/unified-testing: upper-case variables, YAML'],
  ['legacy', 'libp2p/test-plans: lower-case variables, JSON'],
]) {
  console.log(`${whose}`);
  console.log(
    '  A listener published its address in Redis; a dialer fetched it, dialled over QUIC, and',
  );
  console.log('  measured dial to first ping answered, then one more ping (ms).');
  passed = (await runTest(dialect, redis)) && passed;
}
console.log(passed ? 'Both dialects passed.' : 'A test failed.');
process.exit(passed ? 0 : 1);
