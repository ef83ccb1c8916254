/** Sends that the kernel refuses (EPERM of a firewall): packets are lost, and nothing else. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { isBuiltin } from 'node:module';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../support/quic-unsendable.ts', import.meta.url));

const whyNot = (): string | false => {
  if (process.getuid?.() !== 0) return 'a network namespace takes root';
  const { status } = spawnSync('unshare', ['--net', 'iptables', '-nL', 'OUTPUT']);
  return status === 0 ? false : 'takes unshare and iptables';
};

const STEPS = [
  'connected',
  'the listener could not send for a while',
  'the dialer could not send for a while',
  'a new connection',
];

const node = isBuiltin('node:quic');
const skip = whyNot();
for (const [listener, dialer] of [
  ['quiche', 'quiche'],
  ...(node
    ? ([
        ['node', 'quiche'],
        ['quiche', 'node'],
        ['node', 'node'],
      ] as const)
    : []),
] as const) {
  test(`${dialer} dials ${listener}: the kernel refuses to send`, {
    timeout: 60_000,
    skip,
  }, async (t) => {
    const flags = node ? ['--experimental-quic', '--no-warnings'] : [];
    const command = ['--net', process.execPath, ...flags, script, listener, dialer];
    const child = spawn('unshare', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (data: string) => {
      out += data;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    assert.deepEqual(out.trim().split('\n'), STEPS);
    assert.equal(code, 0);
  });
}
