/** Dials over a connected UDP socket of its own. */

import { randomBytes } from 'node:crypto';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { DialOptions, QuicConnection } from '../engine.ts';
import { handshakeLimitOf, quicLimitsOf } from '../limits.ts';
import { type ConfigContext, configureOnce, maxDatagramTo } from './config.ts';
import { QuicheConnection } from './connection.ts';
import { CID_LENGTH } from './first-packet.ts';
import { logKeys } from './key-log.ts';
import { bindSocket, type Entry, freeDatagram, pump, sent, withoutZone } from './socket.ts';

/** `QuicEngine.dial()`, from a socket of its own. */
export const dial = async (
  context: ConfigContext,
  remote: SocketAddress,
  options: DialOptions,
): Promise<QuicConnection> => {
  const { signal } = options;
  const aborted = (): LeanError => new LeanError('ERR_ABORTED', 'the dial was aborted');
  const isAborted = (): boolean => signal?.aborted === true;
  if (isAborted()) throw aborted();
  const limits = quicLimitsOf(options.limits);
  const config = configureOnce(context, options, limits);
  const where = `${remote.host} port ${remote.port}`;
  const socket = bindSocket(remote.host);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(remote.port, remote.host, () => {
        socket.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    throw new LeanError('ERR_DIAL', `cannot reach ${where}: ${messageOf(error)}`);
  }
  // While the socket was opened.
  if (isAborted()) {
    socket.close();
    throw aborted();
  }
  const { address: host, port } = socket.address();
  const local = { host: withoutZone(host), port };
  const target = { host: withoutZone(remote.host), port: remote.port };

  const maxDatagram = maxDatagramTo(target.host, config);

  return new Promise((resolve, reject) => {
    let open = true;
    const closeSocket = (): void => {
      if (!open) return;
      open = false;
      clearTimeout(entry.timer);
      socket.close();
    };
    const { schedule, flush, flushAll } = pump(socket, true, closeSocket);
    const scid = randomBytes(CID_LENGTH);
    const handle = context.quiche.Connection.connect(null, scid, local, target, config);
    const appendKeys = logKeys(context.keyLog, handle);
    const connection = new QuicheConnection(
      handle,
      'dialer',
      { local, remote: target },
      {
        authenticate: options.authenticate,
        limits: { ...limits, handshakeTimeout: handshakeLimitOf(options, limits) },
        maxDatagram,
      },
      {
        wantsFlush: () => open && schedule(entry),
        flushNow: () => open && flushAll(entry),
        onReady: () => {
          appendKeys();
          signal?.removeEventListener('abort', onAbort);
          resolve(connection);
        },
        onEnd: (error) => {
          appendKeys();
          signal?.removeEventListener('abort', onAbort);
          reject(error);
          finish().catch(() => {});
        },
        flushed: () => finish(),
      },
    );
    const entry: Entry = { connection, received: false, timer: undefined, timerDue: 0, routes: [] };
    // The other side learns of the end by one packet. While the process lives, that is repeated for a
    // peer that goes on sending: for three probe timeouts (RFC 9000 section 10.2).
    const finish = async (): Promise<void> => {
      if (!open) return;
      flush(entry);
      await sent(connection, socket, () => open);
      if (connection.lingers) socket.unref();
      else closeSocket();
    };
    const onAbort = (): void => connection.fail(aborted());
    signal?.addEventListener('abort', onAbort, { once: true });

    socket.on('message', (packet) => {
      connection.receive(packet, target.host, target.port);
      freeDatagram(packet);
      entry.received = true;
      schedule(entry);
    });
    socket.on('error', (error) => {
      // An ICMP error counts only until the peer has answered.
      if (!connection.ready) {
        connection.fail(
          new LeanError('ERR_DIAL', `nothing answers at ${where}: ${messageOf(error)}`),
        );
      }
    });
    flush(entry);
  });
};
