import assert from 'node:assert/strict';
import test from 'node:test';
import { isAnswerable, unanswerableHosts } from '../../src/quic/answerable.ts';

const HOSTS = {
  answerable: ['127.0.0.1', '1.0.0.1', '223.255.255.255', '192.0.2.255', '10.0.0.1'],
  not: ['0.0.0.0', '0.1.2.3', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255'],
} as const;
const HOSTS_6 = {
  answerable: ['::1', 'fe80::1%eth0', '2001:db8::ff', 'fd00::2', '::ffff:1.2.3.4'],
  not: ['::', 'ff02::1', 'FF05::2', 'ff0e::1%eth0'],
} as const;

test('which sources can be answered', () => {
  for (const host of [...HOSTS.answerable, ...HOSTS_6.answerable]) {
    assert.equal(isAnswerable(host, 4001), true, host);
    assert.equal(isAnswerable(host, 0), false, `${host} port 0`);
  }
  for (const host of [...HOSTS.not, ...HOSTS_6.not]) {
    assert.equal(isAnswerable(host, 4001), false, host);
  }
});

test('the list for node:quic has the same hosts', () => {
  const list = unanswerableHosts();
  for (const [family, { answerable, not }] of [
    ['ipv4', HOSTS],
    ['ipv6', HOSTS_6],
  ] as const) {
    const plain = (host: string): string => host.split('%')[0] ?? host;
    for (const host of answerable) assert.equal(list.check(plain(host), family), false, host);
    for (const host of not) assert.equal(list.check(plain(host), family), true, host);
  }
});
