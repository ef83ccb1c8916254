/** AutoNAT with go-libp2p, on public addresses in network namespaces. `make nat-peers` builds the peers. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { buildPeers } from '../../interop/build-peers.ts';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import { enginesHere } from '../support/engines.ts';
import { SUITE } from '../support/suite-limit.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const PEER = 'nat-go-v0.51';
const lack = lackOfLaboratory();
const [peer] = lack === undefined ? await buildPeers([PEER], undefined, false) : [];
const why = lack ?? (peer !== undefined && 'skipped' in peer ? peer.skipped : undefined);
const skip = why === undefined ? false : `AutoNAT with go-libp2p: ${why}`;

/** What each side finds out about the other, and about an address that nobody has. */
const expected = (end: string) => [
  ['go, of ours', true],
  ['go, of one that nobody has', false],
  ['go asks, v1', 'yes'],
  ['go asks, v2', `/ip4/45.0.0.2/${end.replace('4001', '4002')} yes`],
  ['go asks of an address that nobody has', `/ip4/45.0.0.9/${end} no`],
];

describe('AutoNAT with go-libp2p', { skip, ...SUITE }, () => {
  it('both serve, both ask: v2 over QUIC and TCP, v1', async () => {
    assert.ok(peer !== undefined && 'command' in peer);
    const [engine = ''] = await enginesHere(['dialer', 'listener']);
    const args = ['test/support/public-network.ts', engine, ...peer.command];
    const child = spawn(process.execPath, [...process.execArgv.filter(isRuntimeFlag), ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const seen: Record<string, unknown[]> = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const { over, question, answer } = JSON.parse(line);
      seen[over] = [...(seen[over] ?? []), [question, answer]];
    }
    const ends = ['udp/4001/quic-v1', 'tcp/4001'];
    assert.deepEqual(seen, Object.fromEntries(ends.map((end) => [end, expected(end)])));
  });
});

const isRuntimeFlag = (flag: string): boolean => flag.startsWith('--experimental-quic');
