/** What counts as one host; the limits themselves are tested over sockets in test/transports. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type AdmittedConnection,
  createAdmission,
  DEFAULT_ADMISSION_LIMITS,
  hostKeyOf,
} from '../src/admission.ts';

/** The connection, if it was admitted. */
const admittedOf = (entered: AdmittedConnection | string): AdmittedConnection | undefined =>
  typeof entered === 'string' ? undefined : entered;

test('an IPv4 address is a host, and so is a /56 of IPv6', () => {
  for (const [ip, key] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0::/56'],
    ['::', '0:0:0:0::/56'],
    ['2001:db8:1:2345::9', '2001:db8:1:2300::/56'],
    ['2001:db8:1:23ff:ffff:ffff:ffff:ffff', '2001:db8:1:2300::/56'],
    ['2001:db8:1:2400::9', '2001:db8:1:2400::/56'],
    ['2001:db8::9', '2001:db8:0:0::/56'],
    ['fe80::1:2:3:4', 'fe80:0:0:0::/56'],
    ['1:2:3:45::', '1:2:3:0::/56'],
    ['1:2:3:145::', '1:2:3:100::/56'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/56'],
  ] as const) {
    assert.equal(hostKeyOf(ip), key, ip);
  }
});

test('addresses of one host share its limit, however they are written', () => {
  for (const [first, second, same] of [
    ['2001:db8:0:100::1', '2001:db8:0:1ff::1', true],
    ['2001:db8:0:100::1', '2001:db8:0:200::1', false],
    ['::ffff:192.0.2.1', '192.0.2.1', true],
    ['::ffff:c000:201', '192.0.2.1', true],
    ['192.0.2.1', '192.0.2.2', false],
    ['fe80::1%eth0', 'fe80::2%eth1', true],
  ] as const) {
    const admission = createAdmission({ ...DEFAULT_ADMISSION_LIMITS, maxConnectionsPerHost: 1 });
    admittedOf(admission.enter(first, () => {}))?.authenticated();
    const entered = admission.enter(second, () => {});
    assert.equal(entered === 'maxConnectionsPerHost', same, `${first}, ${second}`);
  }
});

test('who has left is not counted, however often it says so', () => {
  const admission = createAdmission({ ...DEFAULT_ADMISSION_LIMITS, maxConnections: 2 });
  const evicted: string[] = [];
  const entered = (name: string) => admission.enter('192.0.2.1', () => evicted.push(name));
  const enter = (name: string) => admittedOf(entered(name));
  const first = enter('first');
  first?.authenticated();
  first?.authenticated();
  const second = enter('second');
  assert.equal(admission.pending, 1);
  const third = enter('third');
  assert.deepEqual(evicted, ['second']);
  second?.authenticated();
  second?.leave();
  assert.equal(admission.pending, 1);
  third?.authenticated();
  assert.equal(entered('fourth'), 'maxConnections', 'nobody is pending');
  first?.leave();
  first?.leave();
  assert.equal(admission.pending, 0);
  enter('fifth')?.authenticated();
  assert.equal(entered('sixth'), 'maxConnections', 'one has left, not two');
});
