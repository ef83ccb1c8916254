import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
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
  resolveMultiaddr,
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

describe('resolveMultiaddr', () => {
  it('returns an address without a name as it is', async () => {
    const address = multiaddr('/ip4/1.2.3.4/udp/1/quic-v1');
    assert.deepEqual(await resolveMultiaddr(address), [address]);
  });

  it('resolves names by the system and keeps what follows', async () => {
    const found = await resolveMultiaddr(multiaddr(`/dns4/localhost/udp/7/quic-v1/p2p/${peer}`));
    assert(found.map(String).includes(`/ip4/127.0.0.1/udp/7/quic-v1/p2p/${peer}`));
    assert(found.every((it) => String(it).startsWith('/ip4/')));
  });

  it('keeps the name of a WebSocket address', async () => {
    const address = multiaddr('/dns4/localhost/tcp/443/wss');
    assert.deepEqual(await resolveMultiaddr(address), [address]);
  });

  it('reports a name that does not exist', async () => {
    const address = multiaddr('/dns/does-not-exist.invalid/tcp/1');
    await assert.rejects(resolveMultiaddr(address), (error) => {
      assert(isLeanError(error, 'ERR_ADDRESS') || isLeanError(error, 'ERR_TIMEOUT'));
      return true;
    });
  });

  it('follows /dnsaddr to the records of that peer', async () => {
    const other = peerIdOf(generateHostKey().publicKey);
    const dns = await txtServer({
      '_dnsaddr.boot.test': [
        `dnsaddr=/ip4/192.0.2.1/udp/1/quic-v1/p2p/${peer}`,
        `dnsaddr=/ip4/192.0.2.2/udp/1/quic-v1/p2p/${other}`,
        `dnsaddr=/dnsaddr/more.test/p2p/${peer}`,
        'dnsaddr=/not-a-protocol/1',
        'v=spf1 -all',
      ],
      '_dnsaddr.more.test': [`dnsaddr=/ip6/2001:db8::1/tcp/1/p2p/${peer}`],
      '_dnsaddr.loop.test': ['dnsaddr=/dnsaddr/loop.test', 'dnsaddr=/dnsaddr/loop.test'],
    });
    try {
      const options = { servers: [dns.server] };
      const found = await resolveMultiaddr(multiaddr(`/dnsaddr/boot.test/p2p/${peer}`), options);
      assert.deepEqual(found.map(String), [
        `/ip4/192.0.2.1/udp/1/quic-v1/p2p/${peer}`,
        `/ip6/2001:db8::1/tcp/1/p2p/${peer}`,
      ]);
      for (const name of ['loop.test', 'absent.test']) {
        const address = multiaddr(`/dnsaddr/${name}`);
        await assert.rejects(resolveMultiaddr(address, options), code('ERR_ADDRESS'), name);
      }
      assert(dns.questions() < 100);
    } finally {
      dns.close();
    }
  });

  it('gives up on a name server that is silent', async () => {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const options = { servers: [`127.0.0.1:${socket.address().port}`], timeout: 50 };
    await assert.rejects(resolveMultiaddr(multiaddr('/dnsaddr/a.test'), options), (error) => {
      assert(isLeanError(error, 'ERR_TIMEOUT') || isLeanError(error, 'ERR_ADDRESS'), String(error));
      return true;
    });
    socket.close();
  });
});

/** A name server on a real socket that knows TXT records only (RFC 1035). */
const txtServer = async (records: Record<string, string[]>) => {
  const socket = createSocket('udp4');
  let questions = 0;
  socket.on('message', (query, from) => {
    questions++;
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const question = query.subarray(12, at + 5);
    const found = records[labels.join('.').toLowerCase()];
    const answers = (found ?? []).map((text) => {
      const head = Buffer.from([
        0xc0,
        12,
        0,
        16,
        0,
        1,
        0,
        0,
        0,
        1,
        0,
        text.length + 1,
        text.length,
      ]);
      return Buffer.concat([head, Buffer.from(text)]);
    });
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(found === undefined ? 0x8183 : 0x8180, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    socket.send(Buffer.concat([header, question, ...answers]), from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    server: `127.0.0.1:${socket.address().port}`,
    questions: () => questions,
    close: () => socket.close(),
  };
};
