/**
 * A process that ends by itself after a connection on `node:quic` has ended with a stream that never opened, as no
 * packet with the peer's credit arrived.
 *
 *     node --experimental-quic test/support/unopened-stream.ts
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { endWithParent } from '../../interop/end-with-parent.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { pickyRelay } from './lossy-relay.ts';
import { issueTestCredentials } from './quic-credentials.ts';
import { echo } from './quic-helpers.ts';

endWithParent();
const options = {
  credentials: await issueTestCredentials('unopened'),
  authenticate: (): void => {},
  limits: { maxStreams: 1 },
};
const serve = async (connection: QuicConnection): Promise<void> => {
  const stream = await connection.acceptStream();
  if (stream !== null) await echo(stream);
};
const engine = await nodeQuicEngine();
const listener = await engine.listen({
  ...options,
  address: { host: '127.0.0.1', port: 0 },
  onConnection: (connection) => void serve(connection).catch(() => {}),
});
let cut = false;
const relay = await pickyRelay(listener.address, (_, toListener) => toListener || !cut);
const connection = await engine.dial(relay.address, options);
const stream = await connection.openStream();
stream.write(Buffer.from('hello'));
stream.closeWrite();
while ((await stream.read()) !== null);
cut = true;
const opening = connection.openStream().then(
  () => 'opened',
  ({ code }) => code,
);
// By then it was asked for.
await nextTurn();
await nextTurn();
await connection.close();
process.stdout.write(`${await opening}\n`);
await listener.close();
relay.close();
