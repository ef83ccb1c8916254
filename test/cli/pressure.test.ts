/**
 * A listener that has hardly any file descriptors, or memory: who is there is served, who comes is refused, nothing
 * crashes.
 */

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

/** Listens in a shell that has done `before`. */
const listenWith = async (t: TestContext, before: string, ...args: string[]) => {
  const command = `${before} && exec "$0" "$@"`;
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
    'ulimit -n 64',
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

test('a heap of 32 MiB, and no end of clients', { timeout: 120_000 }, async (t) => {
  const { child, addresses, stderr } = await listenWith(
    t,
    'export NODE_OPTIONS=--max-old-space-size=32',
    // Long before the end, so that it is soon.
    ...['--limit', 'maxMemoryPercent=45', '--limit', 'maxConnectionsPerPeer=100000'],
    '/ip4/127.0.0.1/tcp/0',
  );
  const [address = ''] = addresses;
  const node = await createNode({ transports: [tcp()] });
  t.after(() => node.close());
  const guest = await node.dial(address);
  await ping(guest);
  const refusal = new Promise<void>((resolve) => {
    child.stderr.on('data', () => {
      if (stderr().includes('was refused: memory is short (maxMemoryPercent)')) resolve();
    });
  });
  let refused = false;
  refusal.then(() => {
    refused = true;
  });
  while (!refused) {
    await Promise.all(
      Array.from({ length: 20 }, () => node.dial(address, { force: true }).catch(() => {})),
    );
  }
  await ping(guest);
  assert.equal(child.exitCode, null, stderr());
  // Once the others are gone there is room again.
  const others = node.connections().filter((connection) => connection !== guest);
  await Promise.all(others.map((connection) => connection.close()));
  for (let served = false; !served; ) {
    const newcomer = await node.dial(address, { force: true });
    served = await ping(newcomer).then(
      () => true,
      () => false,
    );
  }
});
