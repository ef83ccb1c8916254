/** SSLKEYLOGFILE, QLOGDIR and `--debug`: what the quinn engine tells of its connections. */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { whyNoQuinn } from '../support/engines.ts';
import { run, start } from '../support/participant.ts';

const OPTIONS = { timeout: 60_000, skip: whyNoQuinn ?? false };

test('traces are written, and statistics logged', OPTIONS, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keys = path.join(folder, 'keys');
  const listener = start(['listen', '--engine', 'quinn', '/ip4/127.0.0.1/udp/0/quic-v1'], {});
  t.after(() => listener.dispose());
  const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
  const { code, stderr } = await run(['ping', '-c', '1', '--debug', '--engine', 'quinn', address], {
    SSLKEYLOGFILE: keys,
    QLOGDIR: folder,
  });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /connection:close .* rtt=\d.* lostPackets=\d+ .*receivedBytes=\d+/);
  assert.match(readFileSync(keys, 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,}$/m);
  assert.equal(readdirSync(folder).filter((name) => name.endsWith('dialer.sqlog')).length, 1);
});

test('a trace that cannot be written: one line, exit code 2', OPTIONS, async () => {
  const args = ['ping', '-c', '1', '--engine', 'quinn', '/ip4/127.0.0.1/udp/9/quic-v1'];
  for (const variables of [{ SSLKEYLOGFILE: '/nowhere/keys' }, { QLOGDIR: '/etc/passwd' }]) {
    const { code, stderr } = await run(args, variables);
    assert.match(stderr, /^libp2p-lean: the trace cannot be written: \w+: .*\n$/);
    assert.equal(code, 2);
  }
});
