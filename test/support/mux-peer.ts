/**
 * A peer that a test kills: dials the given address, prints its own, opens a stream and writes endlessly.
 */

import { multiaddr } from '@multiformats/multiaddr';
import { endWithParent } from '../../interop/end-with-parent.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import { wsTransport } from '../../src/transports/websocket.ts';

endWithParent();
const address = multiaddr(process.argv[2] ?? '');
const options = {
  hostKey: generateHostKey(),
  secureChannels: ['noise'],
  muxers: ['yamux'],
} as const;
const transports = [tcpTransport(options), wsTransport({ ...options, insecureWss: true })];
const transport = transports.find((it) => it.handles(address));
if (transport === undefined) throw new Error(`no transport for ${address}`);
const signal = AbortSignal.timeout(20_000);
const connection = await transport.dial(address, { expectedPeer: undefined, signal });
process.stdout.write(`${connection.localAddress}\n`);
const stream = await connection.openStream();
for (;;) await writeAll(stream, new Uint8Array(10_000));
