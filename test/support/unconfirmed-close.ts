/**
 * Closes a connection, busy sending, whose handshake the listener never sees the end of. A process of
 * its own, since what is tested for is that it does not spin for ever.
 */

import { endWithParent } from '../../interop/end-with-parent.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { pickyRelay } from './lossy-relay.ts';
import { issueTestCredentials } from './quic-credentials.ts';

endWithParent();

const engine = await quicheEngine();
const options = { credentials: await issueTestCredentials('unconfirmed'), authenticate: () => {} };
const listener = await engine.listen({
  ...options,
  address: { host: '127.0.0.1', port: 0 },
  onConnection: () => {},
});
for (let i = 0; i < 5; i++) {
  let first = true;
  // The dialer's certificate and Finished are in Handshake packets: those are lost.
  const relay = await pickyRelay(listener.address, (packet, toListener) => {
    if (!toListener) return true;
    const keep = first || ((packet[0] ?? 0) & 0x80) === 0;
    first = false;
    return keep;
  });
  const connection = await engine.dial(relay.address, options);
  const stream = await connection.openStream();
  stream.write(Buffer.alloc(1 << 20));
  await connection.close(1, 'never mind');
  relay.close();
}
await listener.close();
process.exit(0);
