/**
 * Dials a listener that forgets the connection, over `node:quic`, in a process of its own, as the test wants to know
 * whether it survives. Prints by what the connection ended.
 *
 *     node --experimental-quic test/support/forgotten-dialer.ts <port> <idle timeout, milliseconds>
 */

import { createHook } from 'node:async_hooks';
import { endWithParent } from '../../interop/end-with-parent.ts';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { issueTestCredentials } from './quic-credentials.ts';

/** All have something on its way, so that they die with the connection. */
const STREAMS = 20;

endWithParent();
// What listens for `destroy`, as node:test does and tracers do, has Node take memory where connections are freed.
createHook({ init() {}, destroy() {} }).enable();

const [port, idle] = process.argv.slice(2).map(Number);
const engine = await nodeQuicEngine();
const connection = await engine.dial(
  { host: '127.0.0.1', port: port ?? 0 },
  {
    credentials: await issueTestCredentials('forgotten'),
    authenticate: () => {},
    limits: { idleTimeout: idle ?? 0 },
  },
);
for (let opened = 0; opened < STREAMS; opened++) {
  (await connection.openStream()).write(Buffer.alloc(100));
}
const { by } = await connection.closed;
process.stdout.write(`${by}\n`);
