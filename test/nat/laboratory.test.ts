/** The NAT laboratory itself: what its routers do, and that nothing of it is left behind. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { lackOfLaboratory } from '../../interop/nat/isolate.ts';
import type { Nat } from '../../interop/nat/laboratory.ts';
import type { Behaviour, Probe } from '../../interop/nat/probe.ts';
import { SUITE } from '../support/suite-limit.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const lack = lackOfLaboratory();
const skip = lack === undefined ? false : `the NAT laboratory: ${lack}`;

const behaviour = (
  mapping: Behaviour['mapping'],
  keepsPort: boolean,
  filtering: Behaviour['filtering'],
): Probe => {
  const both = { mapping, keepsPort, filtering };
  return { udp: both, tcp: both };
};
const PORT_RESTRICTED = behaviour('endpoint-independent', true, 'address-and-port-dependent');

const EXPECTED: Readonly<Record<Nat, Probe>> = {
  public: behaviour('endpoint-independent', true, 'endpoint-independent'),
  'full-cone': behaviour('endpoint-independent', true, 'endpoint-independent'),
  'address-restricted': behaviour('endpoint-independent', true, 'address-dependent'),
  'port-restricted': PORT_RESTRICTED,
  'port-shifting': behaviour('endpoint-independent', false, 'address-and-port-dependent'),
  symmetric: behaviour('address-and-port-dependent', false, 'address-and-port-dependent'),
  'udp-blocked': { udp: 'blocked', tcp: PORT_RESTRICTED.tcp },
  double: PORT_RESTRICTED,
};

/** Processes that inherited an environment variable. */
const heirs = (variable: string): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(variable);
      } catch {
        return false; // it has ended
      }
    });

describe('NAT laboratory', { skip, ...SUITE }, () => {
  it('each NAT maps and filters as its name says', async () => {
    const child = spawn(process.execPath, ['interop/nat/probe-all.ts'], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const seen: Record<string, Probe> = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const { nat, ...probe } = JSON.parse(line) as Probe & { nat: string };
      seen[nat] = probe;
    }
    assert.deepEqual(seen, EXPECTED);
  });

  it('nothing of it outlives a process that is killed', async () => {
    const mark = `LIBP2P_LEAN_TEST_MARK=${randomUUID()}`;
    const [name = '', value = ''] = mark.split('=');
    const child = spawn(process.execPath, ['test/support/nat-laboratory.ts'], {
      cwd: ROOT,
      env: { ...process.env, [name]: value },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    assert.equal(line, 'up');
    // This process, those between, the one in the namespaces, and Redis.
    assert.ok(heirs(mark).length >= 3, 'it runs');
    child.kill('SIGKILL');
    await once(child, 'exit');
    while (heirs(mark).length > 0) await pause(10);
  });
});
