/** A listener whose callbacks throw: the connection they were told of ends, and nothing else does. */

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test, { describe } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import type { TransportConnection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { hostOf } from '../../src/multiaddr.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { quicTransport } from '../../src/transports/quic.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import type { Transport } from '../../src/transports/transport.ts';
import { wsTransport } from '../../src/transports/websocket.ts';
import { enginesHere } from '../support/engines.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { echo, inbox, readAll } from '../support/quic-helpers.ts';

const HANG = { timeout: 30_000 };

type Make = () => Promise<Transport>;

const upgrade = async () => {
  const hostKey = generateHostKey();
  const tls = await issueCertificate(hostKey);
  return { hostKey, tls, secureChannels: ['noise'], muxers: ['yamux'] } as const;
};
const overQuic =
  (name: EngineName): Make =>
  async () => {
    const { engine } = await selectEngine(name, 'listener');
    return quicTransport({ engine, ...(await upgrade()) });
  };

const engines = await enginesHere(['dialer', 'listener']);
const transports: readonly (readonly [name: string, address: string, make: Make])[] = [
  ['tcp', '/ip4/127.0.0.1/tcp/0', async () => tcpTransport(await upgrade())],
  ['ws', '/ip4/127.0.0.1/tcp/0/ws', async () => wsTransport(await upgrade())],
  ...engines.map(
    (name) => [`quic-v1 (${name})`, '/ip4/127.0.0.1/udp/0/quic-v1', overQuic(name)] as const,
  ),
];

for (const [name, address, make] of transports) {
  describe(`${name}: callbacks that throw`, () => {
    test('onConnection', HANG, async (t) => {
      const accepted = inbox<TransportConnection>();
      let told = 0;
      const listener = await (await make()).listen(multiaddr(address), {
        onConnection: (connection) => {
          if (++told === 1) throw new Error('onConnection threw');
          accepted.push(connection);
        },
        onRefused: () => {},
      });
      t.after(() => listener.close());
      const dialer = await make();
      const dial = async (): Promise<TransportConnection> => {
        const options = { expectedPeer: undefined, signal: AbortSignal.timeout(20_000) };
        const connection = await dialer.dial(listener.address, options);
        t.after(() => connection.close());
        return connection;
      };
      const first = await dial();
      await first.closed;
      const second = await dial();
      const stream = await second.openStream();
      stream.write(Buffer.from('still here'));
      stream.closeWrite();
      const remote = await (await accepted.next()).acceptStream();
      assert.ok(remote);
      await echo(remote);
      assert.equal(String(await readAll(stream)), 'still here');
    });

    test('onRefused', HANG, async (t) => {
      const refused = inbox<Error>();
      const listener = await (await make()).listen(multiaddr(address), {
        onConnection: () => {},
        onRefused: (error) => {
          refused.push(error);
          throw new Error('onRefused threw');
        },
      });
      t.after(() => listener.close());
      const dialer = await make();
      const options = { signal: AbortSignal.timeout(20_000) };
      const engineName = engines.find((it) => name.includes(`(${it})`));
      if (engineName !== undefined) {
        const { engine } = await selectEngine(engineName, 'dialer');
        // A certificate without libp2p's extension.
        const credentials = await issueTestCredentials('not libp2p');
        const remote = hostOf(listener.address);
        const attempt = engine.dial(remote, { credentials, authenticate: () => {}, ...options });
        // It may be told of the refusal only when it has its connection.
        attempt.then((connection) => connection.closed).catch(() => {});
        assert(isLeanError(await refused.next(), 'ERR_CERT_NO_EXTENSION'));
      } else {
        const { host, port } = hostOf(listener.address);
        const socket = connect(port, host);
        t.after(() => socket.destroy());
        socket.on('error', () => {});
        socket.end(name === 'ws' ? UPGRADE : 'garbage');
        await refused.next();
      }
      const connection = await dialer.dial(listener.address, {
        ...options,
        expectedPeer: undefined,
      });
      t.after(() => connection.close());
      assert.equal(connection.role, 'dialer');
    });
  });
}

/** A WebSocket handshake, then a masked message of six bytes. */
const UPGRADE = [
  'GET / HTTP/1.1',
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13',
  '',
  '\x02\x06\0\0\0\0garbag',
].join('\r\n');
