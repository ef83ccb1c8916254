/** test-plans' hole-punch-interop contract through two NATs: real Redis under its own name, nothing else set. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import { SUITE } from '../support/suite-limit.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const lack = lackOfLaboratory();
const skip = lack === undefined ? false : `the NAT laboratory: ${lack}`;

describe('test-plans’ hole-punch contract', { skip, ...SUITE }, () => {
  for (const transport of ['tcp', 'quic']) {
    it(`MODE=dial and MODE=listen punch over ${transport}; one line on stdout`, async () => {
      const args = ['test/support/test-plans-punch.ts', transport];
      const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
      const [line = '', ...rest] = stdout.trimEnd().split('\n');
      assert.deepEqual(rest, []);
      const report = JSON.parse(line);
      assert.deepEqual(Object.keys(report), ['rtt_to_holepunched_peer_millis']);
      assert.ok(Number.isInteger(report.rtt_to_holepunched_peer_millis));
    });
  }
});
