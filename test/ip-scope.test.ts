/** How far addresses reach, and which are dialled on the word of a peer. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { generateHostKey } from '../src/identity/keys.ts';
import { peerIdOf } from '../src/identity/peer-id.ts';
import { isPublicIp, scopeOf } from '../src/ip-scope.ts';
import { parseMultiaddr } from '../src/multiaddr.ts';
import { directAddresses, punchTargets } from '../src/node/direct-addresses.ts';

describe('scopes of IP addresses', () => {
  const cases: [string, string | undefined][] = [
    ['8.8.8.8', 'public'],
    ['2606:4700::1111', 'public'],
    ['127.0.0.1', 'loopback'],
    ['::1', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['10.1.2.3', 'private 10.0.0.0/8'],
    ['::ffff:10.1.2.3', 'private 10.0.0.0/8'],
    ['::ffff:a01:203', 'private 10.0.0.0/8'],
    ['172.31.0.1', 'private 172.16.0.0/12'],
    ['172.32.0.1', 'public'],
    ['192.168.1.1', 'private 192.168.0.0/16'],
    ['100.64.0.1', 'private 100.64.0.0/10'],
    ['fd00::1', 'private fc00::/7'],
    ['0.0.0.0', undefined],
    ['::', undefined],
    ['169.254.169.254', undefined],
    ['224.0.0.1', undefined],
    ['255.255.255.255', undefined],
    ['fe80::1', undefined],
    ['ff02::1', undefined],
    ['2002:a00:1::1', undefined],
    ['::10.0.0.1', undefined],
    ['192.0.0.1', undefined],
    ['198.51.100.7', 'private 198.51.100.0/24'],
    ['2001:db8::1', 'private 2001:db8::/32'],
    ['3fff::1', undefined],
    ['4000::1', undefined],
    ['example.org', undefined],
  ];
  for (const [ip, scope] of cases) it(ip, () => assert.equal(scopeOf(ip), scope));
});

describe('public IP addresses', () => {
  it('are those that the whole internet can reach', () => {
    for (const ip of [
      '1.1.1.1',
      '100.128.0.1',
      '172.32.0.1',
      '2606:4700::1111',
      '::ffff:1.1.1.1',
    ]) {
      assert.equal(isPublicIp(ip), true, ip);
    }
    const others =
      '0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.1.1 172.16.0.1 172.31.255.255 192.168.0.1 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1 fe80::1 fc00::1 fd12::1 ff02::1 2001:db8::1 64:ff9b::a00:1 ::ffff:10.0.0.1 example.com';
    for (const ip of others.split(' ')) assert.equal(isPublicIp(ip), false, ip);
  });
});

describe('addresses of a hole punch', () => {
  const peer = peerIdOf(generateHostKey().publicKey);
  const choose = (scope: Parameters<typeof directAddresses>[1], ...list: string[]): string[] =>
    directAddresses(list.map(parseMultiaddr), scope, peer).map(String);

  it('are of the relay’s network, or public; QUIC first, each once, without the peer', () => {
    const list = [
      '/ip4/1.2.3.4/tcp/1',
      `/ip4/1.2.3.4/tcp/1/p2p/${peer}`,
      '/ip4/10.0.0.1/tcp/1',
      '/ip4/192.168.0.1/tcp/1',
      '/ip4/127.0.0.1/tcp/1',
      '/ip4/1.2.3.4/udp/1/quic-v1',
    ];
    const open = ['/ip4/1.2.3.4/udp/1/quic-v1', '/ip4/1.2.3.4/tcp/1'];
    assert.deepEqual(choose('public', ...list), open);
    assert.deepEqual(choose('private 10.0.0.0/8', ...list), [...open, '/ip4/10.0.0.1/tcp/1']);
    assert.deepEqual(choose('loopback', ...list), ['/ip4/127.0.0.1/tcp/1']);
  });

  it('are not names, circuits, other transports, other peers or ports 0', () => {
    const other = peerIdOf(generateHostKey().publicKey);
    const list = [
      '/dns4/example.org/tcp/1',
      `/ip4/1.2.3.4/tcp/1/p2p/${other}/p2p-circuit`,
      '/ip4/1.2.3.4/tcp/1/ws',
      `/ip4/1.2.3.4/tcp/1/p2p/${other}`,
      '/ip4/1.2.3.4/tcp/0',
      '/ip4/1.2.3.4/udp/1',
    ];
    assert.deepEqual(choose('public', ...list), []);
  });

  it('are dialled at few hosts, and each host so often, however many addresses it has', () => {
    const chosen = (maxHosts: number, maxDialsPerHost: number, ...list: string[]) =>
      punchTargets(list.map(parseMultiaddr), { maxHosts, maxDialsPerHost }).map(
        ({ address, dials }) => [address.toString(), dials],
      );
    const [one, two, three, six] = [
      '/ip4/1.2.3.4/udp/1/quic-v1',
      '/ip4/1.2.3.4/tcp/1',
      '/ip4/1.2.3.4/tcp/2',
      '/ip6/2606:4700:0:1::1/tcp/1',
    ];
    const other = '/ip4/4.3.2.1/tcp/1';
    assert.deepEqual(chosen(3, 8, one), [[one, 8]]);
    assert.deepEqual(chosen(3, 8, one, two, three), [
      [one, 2],
      [two, 2],
      [three, 2],
    ]);
    assert.deepEqual(chosen(3, 2, one, two, three), [
      [one, 1],
      [two, 1],
    ]);
    assert.deepEqual(chosen(2, 3, one, six, other, '/ip6/2606:4700:0:ff::1/tcp/9'), [
      [one, 3],
      [six, 1],
      ['/ip6/2606:4700:0:ff::1/tcp/9', 1],
    ]);
  });
});
