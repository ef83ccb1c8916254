/**
 * One side of a connection in a process of its own, for tests that kill it and for throughput.
 *
 *     node test/support/quic-peer.ts <quinn|node|quiche> listen
 *     node test/support/quic-peer.ts <quinn|node|quiche> dial <host> <port>
 *
 * The listener prints its port, answers every stream with its echo. The dialer opens a stream,
 * writes `hello`, prints `connected` and then stays silent.
 */

import { endWithParent } from '../../interop/end-with-parent.ts';
import type { QuicEngine } from '../../src/quic/engine.ts';
import { issueTestCredentials } from './quic-credentials.ts';
import { echo } from './quic-helpers.ts';

endWithParent();
const [engineName, role, host, port] = process.argv.slice(2);

const load = async (): Promise<QuicEngine> => {
  if (engineName === 'node')
    return (await import('../../src/quic/node/engine.ts')).nodeQuicEngine();
  if (engineName === 'quinn') return (await import('../../src/quic/quinn/engine.ts')).quinnEngine();
  return (await import('../../src/quic/quiche/engine.ts')).quicheEngine();
};

const engine = await load();
const credentials = await issueTestCredentials(`${role}er`);
const authenticate = (): void => {};
const limits = { idleTimeout: 60_000 };

if (role === 'listen') {
  const listener = await engine.listen({
    address: { host: '127.0.0.1', port: 0 },
    credentials,
    authenticate,
    limits,
    onConnection: (connection) => {
      const serve = async (): Promise<void> => {
        for (;;) {
          const stream = await connection.acceptStream();
          if (stream === null) return;
          echo(stream).catch(() => {});
        }
      };
      serve().catch(() => {});
    },
  });
  process.stdout.write(`${listener.address.port}\n`);
} else {
  const connection = await engine.dial(
    { host: host ?? '127.0.0.1', port: Number(port) },
    { credentials, authenticate, limits },
  );
  const stream = await connection.openStream();
  stream.write(Buffer.from('hello'));
  process.stdout.write('connected\n');
}
// Keeps the process alive, whatever the engine does; the test ends it.
setInterval(() => {}, 1 << 30);
