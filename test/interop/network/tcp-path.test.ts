/** TCP of the kernel across the relay: real sockets in two network namespaces. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { plainLink } from '../../../interop/network/conditions.ts';
import { noTcpPath, openTcpPath, type TcpPath } from '../../../interop/network/tcp-path.ts';

const OPTIONS = { timeout: 60_000, skip: noTcpPath() };
const SIZE = 200_000;

const LISTENER = `require('node:net').createServer((s) => s.pipe(s)).listen(7000, '192.0.2.2', () => console.log('up'))`;
/** Sends and reads back, and says how much came. */
const DIALER = `
const s = require('node:net').connect(7000, '192.0.2.2');
let n = 0;
s.on('data', (c) => { n += c.length; });
s.on('end', () => console.log(n));
s.end(Buffer.alloc(${SIZE}));`;

const launch = (t: TestContext, path: TcpPath, role: 'dialer' | 'listener', script: string) => {
  const [file = '', ...args] = path.wrap(role, [process.execPath, '-e', script]);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  return child;
};

const openPath = async (t: TestContext, loss: number, seed: number, port = 1) => {
  const path = await openTcpPath(plainLink(5, loss), seed, port);
  t.after(() => path.close());
  return path;
};

test('TCP gets all across in spite of loss, and the relay sees IP packets', OPTIONS, async (t) => {
  const path = await openPath(t, 0.05, 1);
  const listener = launch(t, path, 'listener', LISTENER);
  await once(listener.stdout, 'data');
  const dialer = launch(t, path, 'dialer', DIALER);
  assert.equal(await text(dialer.stdout), `${SIZE}\n`);
  const { packets, lost } = await path.relay.stats();
  assert(packets[0] > SIZE / 1500, `${packets}`);
  assert(lost[0] + lost[1] > 0);
  listener.kill();
  const [code, signal] = await once(listener, 'exit');
  assert.equal(code ?? signal, 128 + 15);
});

test(
  'the command’s exit code is its own; a port of loopback is reached from inside',
  OPTIONS,
  async (t) => {
    const server = createServer((socket) => socket.end('from outside')).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const address = server.address();
    assert(typeof address === 'object' && address !== null);
    const path = await openPath(t, 0, 1, address.port);
    const [host, port] = path.redisAddress.split(':');
    const script = `require('node:net').connect(${port}, '${host}').on('data', (d) => console.log(String(d))).on('end', () => process.exit(7))`;
    const child = launch(t, path, 'dialer', script);
    const said = text(child.stdout);
    const [code] = await once(child, 'exit');
    assert.equal(await said, 'from outside\n');
    assert.equal(code, 7);
  },
);
