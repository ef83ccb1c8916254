/** WebSocket: the suite of the TCP transports, and what is WebSocket's own. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { before, describe, test } from 'node:test';
import tls from 'node:tls';
import { multiaddr } from '@multiformats/multiaddr';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { hostOf } from '../../src/multiaddr.ts';
import { issueCertificate, type TlsIdentity } from '../../src/tls/issue.ts';
import type { TransportListener } from '../../src/transports/transport.ts';
import { wsTransport } from '../../src/transports/websocket.ts';
import { inbox, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';
import { transportSuite } from './tcp-suite.ts';

/** Performs the HTTP part on `socket` and returns a writer of binary messages, masked with zeroes. */
const upgrade = async (socket: Pick<Socket, 'write' | 'once'>) => {
  socket.write(
    'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  const [answer] = (await once(socket as Socket, 'data')) as [Buffer];
  assert.match(String(answer), /^HTTP\/1\.1 101 /);
  return {
    write: (bytes: Uint8Array): void => {
      const head = Buffer.from([0x82, 0xfe, bytes.length >> 8, bytes.length & 255, 0, 0, 0, 0]);
      if (bytes.length > 0) socket.write(Buffer.concat([head, bytes]));
    },
  };
};

const overTls = async (socket: Socket): Promise<tls.TLSSocket> => {
  const secured = tls.connect({ socket, rejectUnauthorized: false });
  secured.on('error', () => {});
  await once(secured, 'secureConnect');
  return secured;
};

transportSuite({
  kind: 'ws',
  make: wsTransport,
  suffix: '/ws',
  attach: upgrade,
  streams: [['noise', 'yamux']],
});
transportSuite({
  kind: 'wss',
  make: (options) => wsTransport({ ...options, insecureWss: true }),
  suffix: '/tls/ws',
  attach: async (socket) => upgrade(await overTls(socket)),
  streams: [],
});

describe('WebSocket’s own', SUITE, () => {
  const options = {
    hostKey: generateHostKey(),
    secureChannels: ['noise'],
    muxers: ['yamux'],
  } as const;
  const { signal } = new AbortController();
  const dialing = { expectedPeer: undefined, signal };
  const refused = inbox<Error>();
  const accepted = inbox<string>();
  const listenOn = (address: string, more: Partial<Parameters<typeof wsTransport>[0]> = {}) =>
    wsTransport({ ...options, ...more }).listen(multiaddr(address), {
      onConnection: ({ description }) => accepted.push(description),
      onRefused: (error) => refused.push(error),
    });
  let identity: TlsIdentity;
  before(async () => {
    identity = issueCertificate(options.hostKey);
  });

  test('`/wss` and `/tls/ws` are the same', async (t) => {
    const listener = await listenOn('/ip4/127.0.0.1/tcp/0/wss');
    t.after(() => listener.close());
    assert.match(listener.address.toString(), /\/tls\/ws$/);
    const { port } = hostOf(listener.address);
    for (const suffix of ['wss', 'tls/ws', 'tls/sni/example.org/ws']) {
      const transport = wsTransport({ ...options, insecureWss: true });
      const address = multiaddr(`/ip4/127.0.0.1/tcp/${port}/${suffix}`);
      assert(transport.handles(address));
      await (await transport.dial(address, dialing)).close();
      assert.equal(await accepted.next(), 'wss/noise/yamux');
    }
  });

  test('a self-signed certificate is refused unless it is told to be taken', async (t) => {
    const listener = await listenOn('/ip4/127.0.0.1/tcp/0/wss', { wssCertificate: identity });
    t.after(() => listener.close());
    const error = await rejection(wsTransport(options).dial(listener.address, dialing));
    assert(isLeanError(error, 'ERR_WSS_CERTIFICATE'), String(error));
    assert.match(error.message, /: its TLS certificate is not trusted: self-signed certificate$/);
  });

  test('`ws` does not reach a `wss` listener, nor the other way round', async (t) => {
    const [plain, secured] = await Promise.all([
      listenOn('/ip4/127.0.0.1/tcp/0/ws'),
      listenOn('/ip4/127.0.0.1/tcp/0/wss'),
    ]);
    t.after(() => Promise.all([plain.close(), secured.close()]));
    const crossed = [
      `/ip4/127.0.0.1/tcp/${hostOf(plain.address).port}/wss`,
      `/ip4/127.0.0.1/tcp/${hostOf(secured.address).port}/ws`,
    ];
    for (const address of crossed) {
      const transport = wsTransport({ ...options, insecureWss: true });
      const error = await rejection(transport.dial(multiaddr(address), dialing));
      assert(isLeanError(error, 'ERR_DIAL'), String(error));
    }
  });

  const ask = (listener: TransportListener, headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      const { host, port } = hostOf(listener.address);
      const asking = request({ host, port, headers, path: '/x' }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asking.on('upgrade', (_, socket) => {
        socket.destroy();
        resolve(101);
      });
      asking.on('error', reject);
      asking.end();
    });

  test('other HTTP requests are refused, and the listener goes on', async (t) => {
    const listener = await listenOn('/ip4/127.0.0.1/tcp/0/ws');
    t.after(() => listener.close());
    assert.equal(await ask(listener), 426);
    assert.equal(await ask(listener, { connection: 'upgrade', upgrade: 'websocket' }), 400);
    await (await wsTransport(options).dial(listener.address, dialing)).close();
    assert.equal(await accepted.next(), 'ws/noise/yamux');
  });

  for (const [what, head, body] of [
    [
      'a message of a billion bytes',
      [0x82, 0xff, 0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0, 0, 0, 0, 0],
      100,
    ],
    ['a frame that is not masked', [0x82, 5], 5],
    ['a reserved opcode', [0x83, 0x85, 0, 0, 0, 0], 5],
  ] as const) {
    test(`a peer sends ${what}: refused`, async (t) => {
      const listener = await listenOn('/ip4/127.0.0.1/tcp/0/ws');
      t.after(() => listener.close());
      const { connect } = await import('node:net');
      const { host, port } = hostOf(listener.address);
      const socket = connect(port, host);
      t.after(() => socket.destroy());
      socket.on('error', () => {});
      await upgrade(socket);
      socket.write(Buffer.concat([Buffer.from(head), Buffer.alloc(body, 0x41)]));
      socket.resume();
      await new Promise((close) => socket.once('close', close));
      assert(isLeanError(await refused.next()));
      await (await wsTransport(options).dial(listener.address, dialing)).close();
      assert.equal(await accepted.next(), 'ws/noise/yamux');
    });
  }

  test('a peer sends a message in small pieces: refused before it has cost much', async (t) => {
    const listener = await listenOn('/ip4/127.0.0.1/tcp/0/ws');
    t.after(() => listener.close());
    const { connect } = await import('node:net');
    const { host, port } = hostOf(listener.address);
    const socket = connect(port, host);
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    await upgrade(socket);
    socket.resume();
    const piece = (opcode: number): readonly number[] => [opcode, 0x81, 0, 0, 0, 0, 0x41];
    // What is between them is in the same buffers, which live as long as the pieces do.
    const pong = Buffer.concat([Buffer.from([0x8a, 0xfd, 0, 0, 0, 0]), Buffer.alloc(125)]);
    const between = Buffer.concat(Array.from({ length: 512 }, () => pong));
    for (let i = 0; i < 300 && !socket.destroyed; i++) {
      const bytes = Buffer.concat([Buffer.from(piece(i === 0 ? 2 : 0)), between]);
      if (!socket.write(bytes)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    }
    const error = await refused.next();
    assert(isLeanError(error, 'ERR_CONNECTION_CLOSED'), String(error));
    assert.match(error.message, /fragments/);
  });

  test('a peer stops in the HTTP request: dropped when the time is up', async (t) => {
    for (const kind of ['ws', 'wss']) {
      const limits = { handshakeTimeout: 150 };
      const listener = await listenOn(`/ip4/127.0.0.1/tcp/0/${kind}`, { limits });
      t.after(() => listener.close());
      const { connect } = await import('node:net');
      const { host, port } = hostOf(listener.address);
      const socket = connect(port, host);
      t.after(() => socket.destroy());
      socket.on('error', () => {});
      socket.write('GET / HT');
      socket.resume();
      await new Promise((close) => socket.once('close', close));
      if (kind === 'ws') assert(isLeanError(await refused.next(), 'ERR_TIMEOUT'));
    }
  });
});
