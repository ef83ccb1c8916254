/** Stateless resets (RFC 9000 section 10.3): who takes one in Node 24.21 may die of it. */

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { nodeQuicEngine } from '../../../src/quic/node/engine.ts';
import { loadPrivateKey } from '../../../src/quic/node/session-options.ts';
import type { NodeQuicEndpoint, NodeQuicSession } from '../../../src/quic/node/types.ts';
import { longEnough } from '../../support/long-enough.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';
import { SUITE } from '../../support/suite-limit.ts';

const DIALER = fileURLToPath(new URL('../../support/forgotten-dialer.ts', import.meta.url));
const LISTENER = fileURLToPath(new URL('../../support/quic-peer.ts', import.meta.url));
const HANG = { timeout: 120_000 };
/** Idle timeouts, for machines that are ever busier; milliseconds. */
const IDLE = [1_000, 4_000, 16_000] as const;

/** A short header (RFC 9000 section 17.3) for a connection that nobody has, long enough for an answer. */
const UNKNOWN_CONNECTION = Buffer.alloc(100, 0x41);
/** A long header (section 17.2) of a version that nobody speaks: it is answered by Version Negotiation. */
const UNKNOWN_VERSION = Buffer.concat([
  Buffer.from([0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]),
  Buffer.alloc(8, 1),
  Buffer.from([8]),
  Buffer.alloc(8, 2),
  Buffer.alloc(1200),
]);

/** Connections whose tokens are sent back; of the first few the memory may not be in use again. */
const CONNECTIONS = 20;
/** A connection id that the peer of a qlog gave or took, and its token (RFC 9000 section 19.15). */
const TOKENS = /"new_connection_id"[^}]*"stateless_reset_token":\{"data":"([0-9a-f]{32})"/g;

interface RawQuic {
  listen(onSession: (session: NodeQuicSession) => void, options: object): Promise<NodeQuicEndpoint>;
}

/** The port of a listener without our workaround. It drops each connection once there is a stream, and tells nobody. */
const listenForgetfully = async (t: TestContext): Promise<number> => {
  const specifier: string = 'node:quic';
  const quic = (await import(specifier)) as RawQuic;
  const { privateKeyPem, certificatePem } = await issueTestCredentials('forgetful');
  const identity = { keys: [loadPrivateKey(privateKeyPem)], certs: [Buffer.from(certificatePem)] };
  const onSession = (session: NodeQuicSession): void => {
    session.closed.catch(() => {});
    session.onstream = (stream) => {
      stream.closed.catch(() => {});
      setImmediate(() => session.destroy());
    };
  };
  const endpoint = await quic.listen(onSession, {
    endpoint: { address: { address: '127.0.0.1', port: 0, family: 'ipv4' } },
    alpn: ['libp2p'],
    sni: { '*': identity },
    verifyClient: true,
    rejectUnauthorized: false,
    onerror: () => {},
  });
  t.after(() => endpoint.destroy());
  return endpoint.address?.port ?? 0;
};

const bindUdp = async (t: TestContext): Promise<Socket> => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => socket.close());
  await once(socket, 'listening');
  return socket;
};

/** The port of a listener of ours in a process of its own, which echoes; and that process. */
const spawnListener = async (t: TestContext): Promise<{ port: number; ended: Promise<never> }> => {
  const args = ['--experimental-quic', '--no-warnings', LISTENER, 'node', 'listen'];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit').then(([code, signal]) =>
    assert.fail(`the listener ended: ${signal ?? code}`),
  );
  ended.catch(() => {});
  const [line] = await Promise.race([once(child.stdout, 'data'), ended]);
  return { port: Number(String(line)), ended };
};

/** Every token in the qlog files in `folder`. */
const tokensIn = async (folder: string): Promise<Buffer[]> => {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const tokens: Buffer[] = [];
  for (const file of files.filter((entry) => entry.isFile())) {
    const log = await readFile(join(file.parentPath, file.name), 'utf8');
    for (const [, token] of log.matchAll(TOKENS)) tokens.push(Buffer.from(token ?? '', 'hex'));
  }
  return tokens;
};

if (isBuiltin('node:quic')) {
  describe('node:quic: stateless resets', SUITE, () => {
    test(
      'a dialer whose listener forgot the connection: the idle timeout ends it',
      HANG,
      async (t) => {
        const port = await listenForgetfully(t);
        const out = await longEnough(IDLE, async (idle) => {
          const args = ['--experimental-quic', '--no-warnings', DIALER, `${port}`, `${idle}`];
          const { stdout } = await promisify(execFile)(process.execPath, args);
          return stdout;
        });
        assert.equal(out, 'timeout\n');
      },
    );

    test('a listener that is sent its own tokens back survives', HANG, async (t) => {
      const { port, ended } = await spawnListener(t);
      const qlog = await mkdtemp(join(tmpdir(), 'stateless-reset-'));
      t.after(() => rm(qlog, { recursive: true }));
      const engine = await nodeQuicEngine({ qlog });
      const credentials = await issueTestCredentials('sender');
      const socket = await bindUdp(t);
      for (let i = 0; i < CONNECTIONS; i++) {
        const connection = await Promise.race([
          engine.dial({ host: '127.0.0.1', port }, { credentials, authenticate: () => {} }),
          ended,
        ]);
        const stream = await connection.openStream();
        stream.write(Buffer.from('hello'));
        await Promise.race([stream.read(), ended]);
        await connection.close();
        for (const token of await tokensIn(qlog)) {
          socket.send(Buffer.concat([UNKNOWN_CONNECTION, token]), port, '127.0.0.1');
        }
      }
      assert.notEqual((await tokensIn(qlog)).length, 0);
    });

    test('a listener resets no connection', HANG, async (t) => {
      const engine = await nodeQuicEngine();
      const listener = await engine.listen({
        address: { host: '127.0.0.1', port: 0 },
        credentials: await issueTestCredentials('listener'),
        authenticate: () => {},
        onConnection: () => {},
      });
      t.after(() => listener.close());
      const socket = await bindUdp(t);
      const { host, port } = listener.address;
      const answered = once(socket, 'message');
      socket.send(UNKNOWN_CONNECTION, port, host);
      socket.send(UNKNOWN_VERSION, port, host);
      const [answer] = (await answered) as [Buffer];
      // The first answer is to the second packet: a long header of version 0.
      assert.equal(answer.readUInt32BE(1), 0, answer.toString('hex'));
      assert.ok((answer[0] ?? 0) >= 0x80, answer.toString('hex'));
    });
  });
} else {
  process.stderr.write('skipped: stateless resets of node:quic: this Node.js has no node:quic\n');
}
