import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { describe, it } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import { isLeanError } from '../src/errors.ts';
import { generateHostKey } from '../src/identity/keys.ts';
import { peerIdOf } from '../src/identity/peer-id.ts';
import {
  decodeMultiaddr,
  hostOf,
  kindOf,
  multiaddrOf,
  parseMultiaddr,
  peerOf,
  reachableAddresses,
  socketAddressOf,
  withoutPeer,
  withPeer,
} from '../src/multiaddr.ts';
import { plainHost } from '../src/socket-address.ts';
import { encodeVarint } from '../src/stream/bytes.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};
const peer = peerIdOf(generateHostKey().publicKey);

describe('kindOf', () => {
  const kinds: [string, string | undefined][] = [
    ['/ip4/127.0.0.1/udp/4001/quic-v1', 'quic-v1'],
    ['/ip6/::1/udp/4001/quic-v1', 'quic-v1'],
    ['/dns4/example.org/udp/4001/quic-v1', 'quic-v1'],
    [`/ip4/127.0.0.1/udp/4001/quic-v1/p2p/${peer}`, 'quic-v1'],
    ['/ip4/127.0.0.1/tcp/4001', 'tcp'],
    [`/dns6/example.org/tcp/4001/p2p/${peer}`, 'tcp'],
    ['/ip4/127.0.0.1/tcp/4001/ws', 'ws'],
    [`/dns/example.org/tcp/443/wss/p2p/${peer}`, 'wss'],
    ['/ip4/127.0.0.1/tcp/4001/tls/ws', 'wss'],
    ['/ip4/127.0.0.1/tcp/4001/tls/sni/example.org/ws', 'wss'],
    ['/ip4/127.0.0.1/udp/4001', undefined],
    ['/ip4/127.0.0.1/udp/4001/quic', undefined],
    ['/ip4/127.0.0.1/udp/4001/quic-v1/webtransport', undefined],
    ['/ip4/127.0.0.1/udp/4001/webrtc-direct', undefined],
    ['/ip4/127.0.0.1/tcp/4001/tls', undefined],
    ['/ip4/127.0.0.1/tcp/4001/quic-v1', undefined],
    [`/ip4/127.0.0.1/tcp/4001/p2p/${peer}/p2p-circuit`, undefined],
    ['/dnsaddr/example.org', undefined],
    ['/unix/a', undefined],
    ['/', undefined],
  ];
  for (const [address, kind] of kinds) {
    it(`${address} is ${kind}`, () => assert.equal(kindOf(multiaddr(address)), kind));
  }
});

describe('parseMultiaddr', () => {
  it('refuses what is no multiaddr, with one clear line', () => {
    for (const text of [
      '',
      'nonsense',
      '/ip4',
      '/ip4/1.2.3/udp/1',
      '/ip4/1.2.3.4/udp/65536',
      '/ip9/1',
      `/dns/${'x'.repeat(2000)}`,
      '/ip4/1.2.3.4/udp/1/quic-v1/webtransport/certhash/uEiDkD1p',
    ]) {
      assert.throws(
        () => parseMultiaddr(text),
        (error) => {
          code('ERR_ADDRESS')(error);
          assert(String(error).length < 200 && !String(error).includes('\n'));
          return true;
        },
        text,
      );
    }
  });
});

describe('decodeMultiaddr', () => {
  it('inverts bytes', () => {
    for (const text of [`/ip4/1.2.3.4/udp/1/quic-v1/p2p/${peer}`, '/dns4/a.b/tcp/443/tls/ws']) {
      assert.equal(decodeMultiaddr(multiaddr(text).bytes).toString(), text);
    }
  });

  it('refuses every truncation', () => {
    const { bytes } = multiaddr(`/ip4/1.2.3.4/tcp/4001/tls/sni/abc/ws/p2p/${peer}`);
    const whole = new Set([5, 8, 10, 16, 18]); // after a component
    for (let length = 1; length < bytes.length; length++) {
      if (whole.has(length)) continue;
      assert.throws(
        () => decodeMultiaddr(bytes.subarray(0, length)),
        code('ERR_ADDRESS'),
        `${length}`,
      );
    }
  });

  it('refuses peer ids that are none, however long', () => {
    const head = multiaddr('/ip4/1.2.3.4/udp/1/quic-v1').bytes;
    const withId = (multihash: Uint8Array): Uint8Array =>
      Buffer.concat([head, Uint8Array.of(0xa5, 0x03), encodeVarint(multihash.length), multihash]);
    // An identity multihash without a key; one of SHA-512; what would take long to write as text.
    const ids = [
      Uint8Array.of(0, 5, 1, 2, 3, 4, 5),
      Buffer.concat([Uint8Array.of(0x13, 64), Buffer.alloc(64, 1)]),
      Buffer.concat([Uint8Array.of(0), Buffer.alloc(999, 0xff)]),
    ];
    for (const id of ids) {
      assert.throws(() => decodeMultiaddr(withId(id)), code('ERR_ADDRESS'));
      // Before a relay, too.
      const circuit = Buffer.concat([withId(id), multiaddr(`/p2p-circuit/p2p/${peer}`).bytes]);
      assert.throws(() => decodeMultiaddr(circuit), code('ERR_ADDRESS'));
    }
  });
});

describe('hosts', () => {
  it('are taken out of and put into addresses', () => {
    assert.deepEqual(hostOf(multiaddr('/dns4/a.b/udp/7/quic-v1')), {
      host: 'a.b',
      port: 7,
      name: 'dns4',
    });
    assert.deepEqual(socketAddressOf(multiaddr('/ip6/::1/tcp/7')), { host: '::1', port: 7 });
    assert.throws(() => socketAddressOf(multiaddr('/dns/a.b/tcp/7')), code('ERR_ADDRESS'));
    assert.throws(() => hostOf(multiaddr('/unix/a')), code('ERR_ADDRESS'));
    const text = (kind: Parameters<typeof multiaddrOf>[0], host: string) =>
      multiaddrOf(kind, { host, port: 9 }).toString();
    assert.equal(text('quic-v1', '1.2.3.4'), '/ip4/1.2.3.4/udp/9/quic-v1');
    assert.equal(text('quic-v1', '2001:db8::1'), '/ip6/2001:db8::1/udp/9/quic-v1');
    assert.equal(text('quic-v1', '::ffff:1.2.3.4'), '/ip4/1.2.3.4/udp/9/quic-v1');
    assert.equal(text('tcp', 'fe80::1%eth0'), '/ip6/fe80::1/tcp/9');
    assert.equal(text('ws', '1.2.3.4'), '/ip4/1.2.3.4/tcp/9/ws');
    assert.equal(text('wss', '1.2.3.4'), '/ip4/1.2.3.4/tcp/9/tls/ws');
  });

  it('become IPv4 where they are IPv4-mapped', () => {
    assert.equal(plainHost('::ffff:127.0.0.1'), '127.0.0.1');
    assert.equal(plainHost('::FFFF:c0a8:0102'), '192.168.1.2');
    assert.equal(plainHost('::ffff:0:1'), '0.0.0.1');
    assert.equal(plainHost('::1'), '::1');
    assert.equal(plainHost('1.2.3.4'), '1.2.3.4');
  });
});

describe('the peer at the end', () => {
  it('is read, set and removed', () => {
    const bare = multiaddr('/ip4/1.2.3.4/udp/1/quic-v1');
    const named = withPeer(bare, peer);
    assert.equal(named.toString(), `${bare}/p2p/${peer}`);
    assert.equal(peerOf(named)?.toString(), peer.toString());
    assert.equal(peerOf(bare), undefined);
    assert.equal(withoutPeer(named).toString(), bare.toString());
    assert.equal(withoutPeer(bare).toString(), bare.toString());
    assert.equal(withPeer(named, peer).toString(), named.toString());
  });
});

describe('reachableAddresses', () => {
  it('leaves a host that is specified', () => {
    const bound = multiaddr('/ip4/127.0.0.1/udp/1/quic-v1');
    assert.deepEqual(reachableAddresses(bound).map(String), [String(bound)]);
  });

  it('puts other interfaces before loopback for 0.0.0.0', () => {
    const found = reachableAddresses(multiaddr('/ip4/0.0.0.0/udp/1/quic-v1')).map(String);
    const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    const outside = all.find((it) => it.family === 'IPv4' && !it.internal);
    assert.equal(found[0], `/ip4/${outside?.address ?? '127.0.0.1'}/udp/1/quic-v1`);
    assert.equal(found.at(-1), '/ip4/127.0.0.1/udp/1/quic-v1');
    assert(!found.some((it) => it.includes('0.0.0.0')));
  });

  it('gives IPv6 addresses, none of them link-local, for ::', () => {
    const found = reachableAddresses(multiaddr('/ip6/::/udp/1/quic-v1')).map(String);
    assert(found.length > 0);
    assert(found.every((it) => it.startsWith('/ip6/') && !it.startsWith('/ip6/fe80')));
  });
});
