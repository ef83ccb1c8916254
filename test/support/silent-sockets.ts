/**
 * A hostile client in a process of its own: holds many sockets to one listener, sends the same few
 * bytes on each and then nothing; when one is closed, it connects anew a second later.
 *
 *     node silent-sockets.ts <port> <source address> <sockets> <tls|plain> [<bytes to say, base64url>]
 *
 * Prints `holding` when as many connections as asked for have been made. Ends when its stdin
 * does.
 */

import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { endWithParent } from '../../interop/end-with-parent.ts';

endWithParent();
const [port, localAddress = '127.0.0.2', count, layer, said = ''] = process.argv.slice(2);
const bytes = Buffer.from(said, 'base64url');
let made = 0;

const hold = (): void => {
  const socket = connect({ host: '127.0.0.1', port: Number(port), localAddress });
  socket.on('error', () => undefined);
  socket.on('connect', () => {
    made++;
    if (made === Number(count)) process.stdout.write('holding\n');
  });
  socket.on('close', () => setTimeout(hold, 1_000));
  const top = layer === 'tls' ? connectTls({ socket, rejectUnauthorized: false }) : socket;
  top.on('error', () => undefined);
  top.resume();
  top.write(bytes);
};

for (let i = 0; i < Number(count); i++) hold();
