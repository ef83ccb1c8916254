/**
 * Raw TCP (`node:net`) and raw UDP (`node:dgram`), driven like a perf peer, for uploads on one stream:
 * an upper bound for what is built on them in JavaScript.
 *
 * A window of 1350-byte datagrams is in flight and the listener acknowledges every 32nd, much as QUIC
 * does, so that none is lost and both sides are as busy.
 */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { createProgram, oneOf } from '../interop/command-line.ts';

const CHUNK = new Uint8Array(64 * 1024);
const DATAGRAM = new Uint8Array(1350);
const WINDOW = 512;
/** Datagrams for each acknowledgement. */
const ACKNOWLEDGED = 32;
/** Datagrams sent at once, as in the quiche engine. */
const BURST = 32;
const BUFFER = 4 << 20;

const listenTcp = async (): Promise<number> => {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('data', () => {});
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
};

const uploadTcp = async (port: number, bytes: number): Promise<number> => {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  await once(socket, 'connect');
  const start = performance.now();
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  socket.resume();
  await once(socket, 'end');
  return performance.now() - start;
};

const listenUdp = async (): Promise<number> => {
  const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER, sendBufferSize: BUFFER });
  const acknowledgement = new Uint8Array(44);
  let received = 0;
  socket.on('message', (_datagram, { port, address }) => {
    if (++received % ACKNOWLEDGED === 0) socket.send(acknowledgement, port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
};

const uploadUdp = async (port: number, bytes: number): Promise<number> => {
  const socket = createSocket({ type: 'udp4', recvBufferSize: BUFFER, sendBufferSize: BUFFER });
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const rounds = Math.ceil(bytes / DATAGRAM.length / ACKNOWLEDGED);
  const all = rounds * ACKNOWLEDGED;
  const start = performance.now();
  let sent = 0;
  let acknowledged = 0;
  await new Promise<void>((resolve) => {
    let scheduled = false;
    const send = (): void => {
      scheduled = false;
      for (let burst = 0; burst < BURST && sent < all && sent - acknowledged < WINDOW; burst++) {
        socket.send(DATAGRAM);
        sent++;
      }
      if (sent < all && sent - acknowledged < WINDOW) schedule();
    };
    const schedule = (): void => {
      if (!scheduled) setImmediate(send);
      scheduled = true;
    };
    socket.on('message', () => {
      acknowledged += ACKNOWLEDGED;
      if (acknowledged >= all) resolve();
      else schedule();
    });
    send();
  });
  socket.close();
  return performance.now() - start;
};

const program = createProgram('raw-sockets', 'Raw TCP and UDP, driven like a perf peer.')
  .argument('<role>', 'listen, dial', oneOf(['listen', 'dial']))
  .argument('<what>', 'listen: tcp, udp; dial: what the listener printed')
  .parse();
const [role, what = ''] = program.processedArgs as string[];
if (role === 'listen') {
  const port = what === 'tcp' ? await listenTcp() : await listenUdp();
  process.stdout.write(`/ip4/127.0.0.1/${what}/${port}\n`);
  process.stdin.resume().once('end', () => process.exit(0));
} else {
  const [, , , transport, port] = what.split('/');
  const upload = transport === 'tcp' ? uploadTcp : uploadUdp;
  for await (const line of createInterface({ input: process.stdin })) {
    const ms = await upload(Number(port), Number(line.split(' ')[1]));
    process.stdout.write(`${JSON.stringify({ ms })}\n`);
  }
  process.exit(0);
}
