/** A peer that takes all file descriptors of a node: without them not even the machine's own addresses can be asked for. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ping } from '../../src/protocols/ping.ts';
import { tcp } from '../../src/transports/factories.ts';
import { eventsOf, makeNode } from '../support/nodes.ts';

const SCRIPT = fileURLToPath(new URL('../support/few-files.ts', import.meta.url));

it('a node without file descriptors cannot tell peers of a change, and goes on', async (t) => {
  const command = 'ulimit -n 64 && exec "$0" "$@"';
  const child = spawn('sh', ['-c', command, process.execPath, SCRIPT], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const port = Number((await lines.next()).value);
  const node = await makeNode(t, {
    transports: [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })],
  });
  const heard = eventsOf(node, 'identify:push');
  const connection = await node.dial(`/ip4/127.0.0.1/tcp/${port}`);
  assert.ok((await ping(connection)) > 0);

  const sockets = Array.from({ length: 100 }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) socket.on('error', () => {});
  // Those that there is no descriptor for are closed.
  await Promise.race(sockets.map((socket) => once(socket.resume(), 'close')));
  child.stdin.write('/lost/1\n');
  assert.equal((await lines.next()).value, '/lost/1');
  assert.ok((await ping(connection)) > 0);

  for (const socket of sockets) socket.destroy();
  // It may not have noticed yet that they are closed.
  for (let i = 0; heard.size === 0; i++) {
    child.stdin.write(`/told/${i}\n`);
    assert.equal((await lines.next()).value, `/told/${i}`);
  }
  const { protocols } = (await heard.next()).info;
  assert.ok(protocols.includes('/lost/1') && protocols.includes('/told/0'));
});
