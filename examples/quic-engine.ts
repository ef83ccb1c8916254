/**
 * A QUIC engine alone: no peer ids, no protocols. Certificates are pinned here, byte for byte.
 *
 *   node examples/quic-engine.ts [quinn|node|quiche]
 */

import { ENGINE_CHOICES, type QuicConnection, selectEngine } from 'libp2p-lean/quic';
import { generateHostKey, issueCertificate } from 'libp2p-lean/tls';

const [name = 'auto'] = process.argv.slice(2);
const choice = ENGINE_CHOICES.find((it) => it === name);
if (choice === undefined) throw new Error(`the engine is one of ${ENGINE_CHOICES.join(', ')}`);
const { engine, why } = await selectEngine(choice, 'listener');
console.log(`${engine.name}: ${why}`);

// Any certificate will do; these come with libp2p's extension.
const [server, client] = [generateHostKey(), generateHostKey()].map(issueCertificate);
if (server === undefined || client === undefined) throw new Error('no certificates');
const pinned = (expected: Uint8Array) => (chain: readonly Uint8Array[]) => {
  if (Buffer.compare(chain[0] ?? new Uint8Array(), expected) !== 0) throw new Error('a stranger');
};

const echo = async (connection: QuicConnection): Promise<void> => {
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    for await (const chunk of stream) if (!stream.write(chunk)) await stream.drain();
    stream.closeWrite();
  }
};

const listener = await engine.listen({
  address: { host: '127.0.0.1', port: 0 },
  credentials: server,
  authenticate: pinned(client.certificateDer),
  limits: { maxStreams: 16, idleTimeout: 5_000 },
  onConnection: (connection) => echo(connection).catch(console.error),
});
const connection = await engine.dial(listener.address, {
  credentials: client,
  authenticate: pinned(server.certificateDer),
});
const stream = await connection.openStream();
stream.write(Buffer.from('there and back'));
stream.closeWrite();
for await (const chunk of stream) console.log(Buffer.from(chunk).toString());
await connection.close();
await listener.close();
