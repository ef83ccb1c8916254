/** A small part of `make nat`: two peers of ours behind port-restricted NATs, and our relay. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import type { Results } from '../../interop/runner/results.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const lack = lackOfLaboratory();
const skip = lack === undefined ? false : `the NAT laboratory: ${lack}`;
const NATS = '[dr - port-restricted, rly - libp2p-lean, lr - port-restricted]';
const CELLS = ['quic-v1', 'tcp, noise, yamux'].map(
  (stack) => `libp2p-lean x libp2p-lean (${stack}) ${NATS}`,
);

test('holes are punched through two NATs, over QUIC and TCP', {
  skip,
  timeout: 300_000,
}, async (t) => {
  const out = await mkdtemp(path.join(tmpdir(), 'libp2p-lean-nat-'));
  t.after(() => rm(out, { recursive: true, force: true }));
  const args = ['interop/nat.ts', '--select', CELLS.join('|'), '--no-delay', '--out', out];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT }).catch(
    (error: unknown) => assert.fail(String((error as { stdout?: string }).stdout ?? error)),
  );
  const text = await readFile(path.join(out, 'results.json'), 'utf8');
  const results = JSON.parse(text) as Results;
  assert.deepEqual(
    results.cells.map(({ name, attempts }) => [name, attempts[0]?.holePunch?.connection]),
    CELLS.map((name) => [name, 'direct']),
    stdout,
  );
});
