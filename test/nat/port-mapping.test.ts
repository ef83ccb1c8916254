/** Ports that a real router forwards: miniupnpd, in network namespaces. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import { onPath } from '../../interop/on-path.ts';
import { SUITE } from '../support/suite-limit.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const run = promisify(execFile);
const lack = onPath('miniupnpd')
  ? lackOfLaboratory()
  : 'miniupnpd not on PATH (Debian: apt-get install miniupnpd-nftables)';
if (lack !== undefined) process.stderr.write(`skipped: port mapping: ${lack}\n`);

describe('port mapping', { skip: lack ?? false, ...SUITE }, () => {
  for (const speaks of ['upnp', 'nat-pmp']) {
    it(`${speaks}: a peer outside reaches listeners behind the router`, async () => {
      const args = ['test/support/mapped-ports.ts', speaks];
      const { stdout } = await run(process.execPath, args, { cwd: ROOT });
      const { mappings, told, replies, forwarded, lifetimes, pcp } = JSON.parse(stdout);
      assert.deepEqual(mappings, ['/ip4/45.0.0.1/udp/4001/quic-v1', '/ip4/45.0.0.1/tcp/4001']);
      assert.equal(told, true);
      for (const reply of replies) assert.match(reply, /1 sent, 1 answered/);
      assert.equal(forwarded, 2);
      if (speaks === 'upnp') return;
      // A server of PCP, its successor, at the same port answers each in its own version (RFC 6887 appendix A).
      assert.deepEqual(lifetimes, [7_200, 7_200]);
      assert.deepEqual(pcp, [2, 0x80, 0]);
    });
  }
});
