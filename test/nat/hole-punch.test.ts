/**
 * A small part of `make nat`: port-restricted NATs, peers of ours and others, and each of them as relay. `make nat-peers`
 * builds the others.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { buildPeers } from '../../interop/build-peers.ts';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import type { Results } from '../../interop/runner/results.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const OURS = 'libp2p-lean';
const lack = lackOfLaboratory();

/** Why it cannot be run with `peer`, for `skip`. */
const lackOf = async (peer: string): Promise<string | false> => {
  if (lack !== undefined) return `the NAT laboratory: ${lack}`;
  if (peer === OURS) return false;
  const [built] = await buildPeers([`hole-punch-${peer}`], undefined, false);
  return built !== undefined && 'skipped' in built ? `${peer}: ${built.skipped}` : false;
};

const cellsOf = (pairs: readonly (readonly [string, string])[], relay: string): string[] =>
  ['quic-v1', 'tcp, noise, yamux'].flatMap((stack) =>
    pairs.map(
      ([dialer, listener]) =>
        `${dialer} x ${listener} (${stack}) [dr - port-restricted, rly - ${relay}, lr - port-restricted]`,
    ),
  );

const [GO, RUST] = ['go-v0.51', 'rust-v0.57'];
for (const { peer, cells } of [
  { peer: OURS, cells: cellsOf([[OURS, OURS]], OURS) },
  { peer: GO, cells: [...cellsOf([[OURS, GO]], GO), ...cellsOf([[GO, OURS]], OURS)] },
  { peer: RUST, cells: [...cellsOf([[OURS, RUST]], OURS), ...cellsOf([[RUST, OURS]], RUST)] },
]) {
  test(`holes are punched through two NATs, over QUIC and TCP, with ${peer}`, {
    skip: await lackOf(peer),
    timeout: 300_000,
  }, async (t) => {
    const out = await mkdtemp(path.join(tmpdir(), 'libp2p-lean-nat-'));
    t.after(() => rm(out, { recursive: true, force: true }));
    const args = ['interop/nat.ts', '--select', cells.join('|'), '--no-delay', '--out', out];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT }).catch(
      (error: unknown) => assert.fail(String((error as { stdout?: string }).stdout ?? error)),
    );
    const text = await readFile(path.join(out, 'results.json'), 'utf8');
    const results = JSON.parse(text) as Results;
    assert.deepEqual(
      results.cells.map(({ name, attempts }) => [name, attempts[0]?.holePunch?.connection]).sort(),
      cells.map((name) => [name, 'direct']).sort(),
      stdout,
    );
  });
}
