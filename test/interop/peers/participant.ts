/**
 * A participant for tests of the runner: keeps the harness contract, or breaks it in the way that
 * its first argument names. It opens a plain TCP connection where a real one would speak libp2p.
 *
 *   participant.ts well-behaved | dies | dies-late | garbage | silent | hangs | spews | ping-late
 */
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { sendCommand } from '../../../interop/redis-server.ts';

const [mode = 'well-behaved', role] = process.argv.slice(2);
const legacy = process.env.is_dialer !== undefined;
const dialer = (process.env.IS_DIALER ?? process.env.is_dialer) === 'true';
/** `garbage:dialer` misbehaves as a dialer only. */
const [behaviour, only = role] = mode.split(':');
const misbehaves = only === undefined || only === (dialer ? 'dialer' : 'listener');
const as = (name: string) => misbehaves && behaviour === name;

const address = process.env.REDIS_ADDR ?? process.env.redis_addr ?? '127.0.0.1:6379';
const key = legacy ? 'listenerAddr' : `${process.env.TEST_KEY}_listener_multiaddr`;

const redis = (...words: string[]): Promise<string> =>
  sendCommand(Number(address.split(':')[1]), words);

const forever = () => setInterval(() => {}, 1000);

if (as('dies')) {
  process.stderr.write(
    'starting\nError: cannot bind: address in use\n    at Server.listen (x.js:1)\n',
  );
  process.exit(3);
}
if (as('hangs')) {
  // With a child of its own, and both deaf to SIGTERM.
  process.on('SIGTERM', () => {});
  const deaf = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)";
  const child = spawn(process.execPath, ['-e', deaf], { stdio: 'inherit' });
  process.stderr.write(`hanging, with child ${child.pid}\n`);
  forever();
} else if (dialer) {
  const reply = await redis('BLPOP', key, '20');
  const [, host = '', at] = /\/ip4\/([\d.]+)\/tcp\/(\d+)/.exec(reply) ?? [];
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host, port: Number(at) }, () => {
      socket.destroy();
      resolve();
    });
    socket.once('error', reject);
  });
  if (as('garbage')) process.stdout.write('Hello from <b>libp2p</b>!\n');
  if (as('spews')) {
    for (let line = 0; line < 120_000; line++) process.stderr.write(`${'x'.repeat(60)} ${line}\n`);
  }
  if (as('silent')) process.exit(0);
  process.stdout.write(
    legacy
      ? '{"handshakePlusOneRTTMillis": 5.25, "pingRTTMilllis": 0.5}\n'
      : 'latency:\n  handshake_plus_one_rtt: 5.25\n  ping_rtt: 0.5\n  unit: ms\n',
  );
} else {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    if (as('dies-late')) process.exit(4);
  });
  const ip = process.env.LISTENER_IP ?? process.env.ip ?? '127.0.0.1';
  server.listen(0, ip, async () => {
    const address = server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : 0;
    process.stderr.write(`listening on ${bound}\n`);
    await redis('RPUSH', key, `/ip4/${ip}/tcp/${bound}/p2p/12D3KooWTest`);
  });
}
