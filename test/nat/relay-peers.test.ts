/**
 * Circuit relay v2 with go-libp2p and rust-libp2p: their relays, and their clients at ours. `make nat-peers` builds
 * the peers.
 */

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
const LIMIT = { duration: 120, data: 131_072 };
const lack = lackOfLaboratory();
const isRuntimeFlag = (flag: string): boolean => flag.startsWith('--experimental-quic');

for (const { id, voucher, renewed } of [
  // Without vouchers: libp2p-relay 0.22 issues none.
  { id: 'hole-punch-rust-v0.57', voucher: undefined, renewed: [['their listener: renewed', true]] },
  { id: 'hole-punch-go-v0.51', voucher: [true, true], renewed: [] },
]) {
  const [peer] = lack === undefined ? await buildPeers([id], undefined, false) : [];
  const why = lack ?? (peer !== undefined && 'skipped' in peer ? peer.skipped : undefined);
  const skip = why === undefined ? false : `relays with ${id}: ${why}`;

  describe(`relays with ${id}`, { skip, ...SUITE }, () => {
    it('ours and theirs: reservations, circuits and direct connections', async (t) => {
      assert.ok(peer !== undefined && 'command' in peer);
      const [engine = ''] = await enginesHere(['dialer', 'listener']);
      const args = ['test/support/relay-peers.ts', engine, ...peer.command];
      const child = spawn(process.execPath, [...process.execArgv.filter(isRuntimeFlag), ...args], {
        cwd: ROOT,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      t.after(() => child.kill('SIGKILL'));
      const seen: Record<string, Record<string, unknown>> = {};
      for await (const line of createInterface({ input: child.stdout })) {
        const { over, question, answer } = JSON.parse(line);
        seen[over] = { ...seen[over], [question]: answer };
      }
      const expected = {
        'their relay: limits': LIMIT,
        ...(voucher && { 'their relay: voucher': voucher }),
        'their relay: a relayed connection pings': true,
        'their relay: a stranger': 'ERR_RELAY',
        'their relay: direct': true,
        'their relay: renewed': true,
        'their listener: the limits of the connection': LIMIT,
        'their listener: direct': true,
        ...Object.fromEntries(renewed),
        'their dialer': [0, 'direct'],
      };
      const known = (answers: object) => JSON.parse(JSON.stringify(answers));
      assert.deepEqual(known(seen), known({ 'quic-v1': expected, tcp: expected }));
    });
  });
}
