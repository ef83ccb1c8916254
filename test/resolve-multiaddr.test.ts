import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import { isLeanError } from '../src/errors.ts';
import { generateHostKey } from '../src/identity/keys.ts';
import { peerIdOf } from '../src/identity/peer-id.ts';
import { resolveMultiaddr } from '../src/resolve-multiaddr.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};
const peer = peerIdOf(generateHostKey().publicKey);

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
