/**
 * A listener that has hardly any file descriptors, or memory: who is there is served, who comes is refused, nothing
 * crashes.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createNode } from '../../src/node/node.ts';
import { ping } from '../../src/protocols/ping.ts';
import { quic, tcp } from '../../src/transports/factories.ts';
import { memoryCgroup } from '../support/cgroup.ts';

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
  assert.notEqual(addresses.length, 0, stderr);
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

/**
 * Clients without end, until one is refused with `reason`: a guest is served all the time, and, with `roomAgain`, newcomers
 * once they are gone.
 */
const crowdIn = async (
  { child, addresses, stderr }: Awaited<ReturnType<typeof listenWith>>,
  t: TestContext,
  reason: string,
  { roomAgain = true } = {},
): Promise<void> => {
  const [address = ''] = addresses;
  const node = await createNode({ transports: [tcp()] });
  t.after(() => node.close());
  const guest = await node.dial(address);
  await ping(guest);
  let refused = false;
  child.stderr.on('data', () => {
    refused ||= stderr().includes(`was refused: memory is short: ${reason} (maxMemoryPercent)`);
  });
  while (!refused && !t.signal.aborted && child.exitCode === null && child.signalCode === null) {
    await Promise.all(
      Array.from({ length: 20 }, () => node.dial(address, { force: true }).catch(() => {})),
    );
  }
  assert.deepEqual([child.exitCode, child.signalCode], [null, null], stderr().slice(-2_000));
  await ping(guest);
  // Once the others are gone there is room again, though newcomers keep coming.
  const others = node.connections().filter((connection) => connection !== guest);
  await Promise.all(others.map((connection) => connection.close()));
  for (let served = !roomAgain; !served; ) {
    t.signal.throwIfAborted();
    const newcomer = await node.dial(address, { force: true });
    served = await ping(newcomer).then(
      () => true,
      () => false,
    );
  }
  await ping(guest);
};

const CROWD = ['--limit', 'maxConnectionsPerPeer=100000', '/ip4/127.0.0.1/tcp/0'];
/** So that V8's heap is not what is short, and young garbage not what it is short of. */
const LARGE_HEAP = 'export NODE_OPTIONS="--max-old-space-size=1000 --max-semi-space-size=1"';

test('a heap of 32 MiB, and no end of clients', { timeout: 120_000 }, async (t) => {
  const heap = 'export NODE_OPTIONS=--max-old-space-size=32';
  // Long before the end, so that it is soon.
  const listener = await listenWith(t, heap, '--limit', 'maxMemoryPercent=45', ...CROWD);
  await crowdIn(listener, t, "V8's heap");
});

/** What a listener has in `/proc/<pid>/status` before anyone comes: it depends on the version of Node.js. KiB. */
const atRest = async (
  t: TestContext,
  field: 'VmRSS' | 'VmPeak',
  before = LARGE_HEAP,
): Promise<number> => {
  const { child } = await listenWith(t, before, ...CROWD);
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  child.kill('SIGKILL');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
};

const onLinux = process.platform === 'linux' ? false : 'needs Linux';

test('a cgroup with hardly any memory, and no end of clients', {
  timeout: 180_000,
  skip: onLinux,
}, async (t) => {
  // At half of it clients are refused.
  const group = memoryCgroup(2 * 1024 * ((await atRest(t, 'VmRSS')) + 24 * 1024));
  if (typeof group === 'string') {
    t.skip(group);
    return;
  }
  t.after(() => group.remove());
  const before = `${LARGE_HEAP} && ${group.enter}`;
  const listener = await listenWith(t, before, '--limit', 'maxMemoryPercent=50', ...CROWD);
  await crowdIn(listener, t, 'the cgroup');
});

test('an address space with hardly any room, and no end of clients', {
  timeout: 180_000,
  skip: onLinux,
}, async (t) => {
  // Of each arena that malloc makes it reserves 64 MiB.
  const oneArena = `${LARGE_HEAP} && export MALLOC_ARENA_MAX=1`;
  const peak = await atRest(t, 'VmPeak', oneArena);
  const before = `${oneArena} && ulimit -v ${peak + 48 * 1024}`;
  const listener = await listenWith(t, before, '--limit', 'maxMemoryPercent=50', ...CROWD);
  // What malloc has once taken it gives back only from its end on, so there need not be room again.
  await crowdIn(listener, t, 'the address space', { roomAgain: false });
});
