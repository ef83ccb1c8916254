/** Listens on one UDP socket: finds the connection of each packet by its connection id, and begins new ones. */

import { randomBytes } from 'node:crypto';
import type { RemoteInfo } from 'node:dgram';
import { createAdmission } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import {
  CONNECTION_REFUSED,
  type DialOptions,
  type ListenOptions,
  type QuicConnection,
  type QuicEngine,
  type QuicListener,
} from '../engine.ts';
import { handshakeLimitOf, quicLimitsOf } from '../limits.ts';
import type { QuicheHandle } from './binding.ts';
import { type ConfigContext, configure, configureOnce, maxDatagramTo } from './config.ts';
import { QuicheConnection } from './connection.ts';
import { CID_LENGTH, examineFirstPacket } from './first-packet.ts';
import { logKeys } from './key-log.ts';
import { isLongHeader } from './packet-header.ts';
import { retryTokens } from './retry-token.ts';
import { bindSocket, type Entry, freeDatagram, pump, sent, withoutZone } from './socket.ts';

/** A listener, and how to dial from its socket. */
export interface QuicheListener {
  readonly listener: QuicListener;
  readonly dial: QuicEngine['dial'];
}

/** `QuicEngine.listen()`. */
export const listen = async (
  context: ConfigContext,
  options: ListenOptions,
): Promise<QuicheListener> => {
  const { quiche } = context;
  const limits = quicLimitsOf(options.limits);
  const config = configure(context, options, limits);
  const { host, port } = options.address;
  const socket = bindSocket(host);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ port, address: host, exclusive: true }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    throw new LeanError('ERR_LISTEN', `cannot listen on ${host} port ${port}: ${messageOf(error)}`);
  }
  const bound = socket.address();
  const local = { host: withoutZone(bound.address), port: bound.port };
  // Errors of single sends (a peer's network went away): the packet is lost, as packets may be.
  socket.on('error', () => {});

  const tokens = retryTokens();
  const routes = new Map<string, Entry>();
  const entries = new Set<Entry>();
  const admission = createAdmission(limits, options.pendingPool);
  let open = true;

  const forget = (entry: Entry): void => {
    entries.delete(entry);
    for (const route of entry.routes) routes.delete(route);
    entry.admitted?.leave();
  };
  const { schedule, flush, flushAll, drop } = pump(socket, false, forget);
  const enter = (entry: Entry): Entry => {
    entries.add(entry);
    for (const route of entry.routes) routes.set(route, entry);
    return entry;
  };
  /** Makes room at once: the peer is told, but not waited for. */
  const evict = (entry: Entry, why: LeanError): void => {
    entry.connection.fail(why, CONNECTION_REFUSED);
    drop(entry);
    forget(entry);
  };

  const refused = (error: Error, remote: SocketAddress): void => {
    try {
      options.onRefused?.(error, remote);
    } catch {
      // The callback is only for logs.
    }
  };

  const accept = (packet: Buffer, from: RemoteInfo): Entry | undefined => {
    const remote = { host: withoutZone(from.address), port: from.port };
    const mustRetry = admission.pending >= limits.retryAbove;
    const first = examineFirstPacket(quiche, tokens, packet, remote, mustRetry);
    if (first === undefined) return undefined;
    if ('reply' in first) {
      socket.send(first.reply, from.port, from.address);
      return undefined;
    }
    const { scid, dcid, original } = first;

    const admitted = admission.enter(remote.host, (why) => evict(entry, why));
    // Not reported: that would happen for every packet of the client, whose address may be forged.
    if (typeof admitted === 'string') return undefined;
    const maxDatagram = maxDatagramTo(remote.host, config);
    let handle: QuicheHandle;
    try {
      handle = quiche.Connection.accept(scid, original ?? null, local, remote, config);
    } catch (error) {
      admitted.leave();
      throw error;
    }
    const appendKeys = logKeys(context.keyLog, handle);
    const connection = new QuicheConnection(
      handle,
      'listener',
      { local, remote },
      {
        authenticate: options.authenticate,
        limits,
        maxDatagram,
      },
      {
        wantsFlush: () => open && schedule(entry),
        flushNow: () => open && flushAll(entry),
        onReady: () => {
          appendKeys();
          admitted.authenticated();
          options.onConnection(connection);
        },
        onEnd: (error) => {
          appendKeys();
          if (!connection.ready) refused(error, remote);
        },
        flushed: async () => {
          if (!open) return;
          flush(entry);
          await sent(connection, socket, () => open);
        },
      },
    );
    const entry = enter({
      connection,
      received: false,
      timer: undefined,
      timerDue: 0,
      // Until it learns our connection id, the client uses the one that it chose at random.
      routes: [scid.toString('latin1'), dcid.toString('latin1')],
      admitted,
    });
    return entry;
  };

  /** A connection that leaves from this socket. */
  const dialFrom = (remote: SocketAddress, dialOptions: DialOptions): Promise<QuicConnection> =>
    new Promise((resolve, reject) => {
      const { signal, authenticate } = dialOptions;
      if (!open) throw new LeanError('ERR_DIAL', 'the listener is closed');
      if (signal?.aborted === true) throw new LeanError('ERR_ABORTED', 'the dial was aborted');
      const bounds = quicLimitsOf(dialOptions.limits);
      const dialConfig = configureOnce(context, dialOptions, bounds);
      const target = { host: withoutZone(remote.host), port: remote.port };
      const maxDatagram = maxDatagramTo(target.host, dialConfig);
      const scid = randomBytes(CID_LENGTH);
      const onAbort = (): void =>
        connection.fail(new LeanError('ERR_ABORTED', 'the dial was aborted'));
      const settle = (): void => signal?.removeEventListener('abort', onAbort);
      const handle = quiche.Connection.connect(null, scid, local, target, dialConfig);
      const appendKeys = logKeys(context.keyLog, handle);
      const connection = new QuicheConnection(
        handle,
        'dialer',
        { local, remote: target },
        {
          authenticate,
          limits: { ...bounds, handshakeTimeout: handshakeLimitOf(dialOptions, bounds) },
          maxDatagram,
        },
        {
          wantsFlush: () => open && schedule(entry),
          flushNow: () => open && flushAll(entry),
          onReady: () => {
            appendKeys();
            settle();
            resolve(connection);
          },
          onEnd: (error) => {
            appendKeys();
            settle();
            reject(error);
          },
          flushed: async () => {
            if (!open) return;
            flush(entry);
            await sent(connection, socket, () => open);
          },
        },
      );
      const routes = [scid.toString('latin1')];
      const entry = enter({ connection, received: false, timer: undefined, timerDue: 0, routes });
      signal?.addEventListener('abort', onAbort, { once: true });
      flush(entry);
    });

  socket.on('message', (packet, from) => {
    const dcidEnd = isLongHeader(packet) ? 6 + (packet[5] ?? 0) : 1 + CID_LENGTH;
    const dcidStart = isLongHeader(packet) ? 6 : 1;
    let entry = routes.get(packet.toString('latin1', dcidStart, dcidEnd));
    try {
      entry ??= accept(packet, from);
    } catch {
      // quiche would not make a connection of it: whatever it was, it is dropped.
    }
    entry?.connection.receive(packet, withoutZone(from.address), from.port);
    freeDatagram(packet);
    if (entry === undefined) return;
    entry.received = true;
    schedule(entry);
  });

  const listener: QuicListener = {
    address: local,
    sendDatagram: (remote, data) => {
      // Errors of the send are the socket's, which has a listener for them.
      if (open) socket.send(data, remote.port, remote.host);
    },
    async close() {
      if (!open) return;
      admission.close();
      await Promise.all([...entries].map((entry) => entry.connection.close(0, 'listener closed')));
      open = false;
      for (const entry of entries) clearTimeout(entry.timer);
      entries.clear();
      routes.clear();
      await new Promise<void>((resolve) => socket.close(() => resolve()));
    },
  };
  return { listener, dial: dialFrom };
};
