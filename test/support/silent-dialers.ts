/**
 * Dials a quiche listener on this machine many times and sends nothing on any connection. A separate process,
 * so that a test can kill it without the listener being told.
 *
 *     node silent-dialers.ts <port> <connections>
 *
 * Prints `connected` when it has them all. Ends when its stdin does.
 */

import { endWithParent } from '../../interop/end-with-parent.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { issueTestCredentials } from './quic-credentials.ts';

/** Handshakes at once: fewer than a listener has places for from one host. */
const AT_ONCE = 20;

endWithParent();

const [port, count] = process.argv.slice(2).map(Number);
const engine = await quicheEngine();
const credentials = await issueTestCredentials('silent');
let left = count ?? 0;

const dial = async (): Promise<void> => {
  while (left-- > 0) {
    const remote = { host: '127.0.0.1', port: port ?? 0 };
    await engine.dial(remote, { credentials, authenticate: () => {} });
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, dial));
process.stdout.write('connected\n');
