/**
 * A hostile QUIC client in a process of its own: from one address it endlessly begins handshakes
 * with a listener, answers a Retry, and never continues.
 *
 *     node silent-handshakes.ts <port> <source address> <handshakes> [only]
 *
 * Prints `holding` when the listener has answered as many handshakes as asked for, after which `only` begins
 * no more. Ends when its stdin does.
 */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { endWithParent } from '../../interop/end-with-parent.ts';
import { loadQuiche, type QuicheHandle } from '../../src/quic/quiche/binding.ts';

const CID_LENGTH = 16;
const RETRY = 0xf0;
/** Milliseconds from one handshake to the next, until there are as many as asked for, and then. */
const [PAUSE, LATER_PAUSE] = [50, 500];

endWithParent();
const [port, from = '127.0.0.2', count, only] = process.argv.slice(2);
const remote = { host: '127.0.0.1', port: Number(port) };
const quiche = loadQuiche();
const config = quiche.Config.withBoringSslCtx(true, true, null, null, null, null);
config.setApplicationProtos(['libp2p']);
config.setMaxRecvUdpPayloadSize(65_527);
config.setMaxSendUdpPayloadSize(1_350);
config.setInitialMaxData(1 << 20);

const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
await new Promise<void>((resolve) => socket.bind(0, from, resolve));
const local = { host: from, port: socket.address().port };
const out = Buffer.alloc(1_350);
const waiting = new Map<string, QuicheHandle>();
let [begun, answered] = [0, 0];

const flush = (connection: QuicheHandle): void => {
  for (let next = connection.send(out); next !== null; next = connection.send(out)) {
    socket.send(Buffer.from(out.subarray(0, next[0])), remote.port, remote.host);
  }
};

const begin = (): void => {
  if (only !== undefined && begun === Number(count)) return;
  begun++;
  const scid = randomBytes(CID_LENGTH);
  const connection = quiche.Connection.connect(null, scid, local, remote, config);
  waiting.set(scid.toString('latin1'), connection);
  flush(connection);
  setTimeout(begin, answered < Number(count) ? PAUSE : LATER_PAUSE);
};

socket.on('message', (packet) => {
  const key = packet.toString('latin1', 6, 6 + CID_LENGTH);
  const connection = waiting.get(key);
  if (connection === undefined) return;
  if (((packet[0] ?? 0) & RETRY) === RETRY) {
    connection.recv(packet, { from: remote, to: local });
    flush(connection);
    return;
  }
  waiting.delete(key);
  answered++;
  if (answered === Number(count)) process.stdout.write('holding\n');
});
begin();
