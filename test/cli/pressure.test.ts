/** A listener that has hardly any file descriptors: who is there is served, who comes is refused, nothing crashes. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createNode } from '../../src/node/node.ts';
import { ping } from '../../src/protocols/ping.ts';
import { quic, tcp } from '../../src/transports/factories.ts';

const LAUNCHER = fileURLToPath(new URL('../../bin/libp2p-lean', import.meta.url));
const CLIENTS = 200;

/** Listens with at most `descriptors` files open. */
const listenWith = async (t: TestContext, descriptors: number, ...args: string[]) => {
  const command = `ulimit -n ${descriptors} && exec "$0" "$@"`;
  const child = spawn('sh', ['-c', command, process.execPath, LAUNCHER, 'listen', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const addresses: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    addresses.push(line);
    if (addresses.length === args.filter((it) => it.startsWith('/')).length) break;
  }
  return { child, addresses, stderr: () => stderr };
};

/** Resolves when `count` of them have. */
const firstOf = (all: readonly Promise<unknown>[], count: number): Promise<void> =>
  new Promise((resolve) => {
    let left = count;
    for (const one of all) {
      one.then(() => {
        left--;
        if (left === 0) resolve();
      });
    }
  });

test('64 descriptors and 200 clients', { timeout: 120_000 }, async (t) => {
  const { child, addresses, stderr } = await listenWith(
    t,
    64,
    '--engine',
    'quiche',
    '/ip4/127.0.0.1/tcp/0',
    '/ip4/127.0.0.1/udp/0/quic-v1',
  );
  const overTcp = addresses.find((it) => it.includes('/tcp/')) ?? '';
  const overQuic = addresses.find((it) => it.includes('/udp/')) ?? '';
  const node = await createNode({
    transports: [quic({ engine: 'quiche' }), tcp()],
    dialTimeout: 60_000,
  });
  t.after(() => node.close());
  const guests = [await node.dial(overTcp), await node.dial(overQuic, { force: true })];
  for (const guest of guests) await ping(guest);

  const port = Number(/\/tcp\/(\d+)/.exec(overTcp)?.[1]);
  const crowd: Socket[] = [];
  const ended: Promise<unknown>[] = [];
  for (let i = 0; i < CLIENTS; i++) {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => {});
    crowd.push(socket);
    ended.push(once(socket, 'close'));
  }
  t.after(() => {
    for (const socket of crowd) socket.destroy();
  });
  // More than it has room for are let go at once.
  await firstOf(ended, CLIENTS - 64);
  for (const guest of guests) for (let i = 0; i < 5; i++) await ping(guest);
  for (const socket of crowd) socket.destroy();
  // There is room again.
  const newcomer = await node.dial(overTcp, { force: true });
  await ping(newcomer);
  for (const guest of guests) await ping(guest);
  assert.equal(child.exitCode, null, stderr());
  assert.ok(!/uncaught|Error:/i.test(stderr()), stderr());
});
