/**
 * The quiche engine: dials and listens over UDP sockets of `node:dgram`. One socket per listener with
 * routing by connection id, one connected socket per dial.
 */

import { randomBytes } from 'node:crypto';
import type { RemoteInfo } from 'node:dgram';
import { createAdmission } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import { isAnswerable } from '../answerable.ts';
import {
  CONNECTION_REFUSED,
  type DialOptions,
  type ListenOptions,
  type QuicConnection,
  type QuicEngine,
  type QuicListener,
  type QuicTrace,
} from '../engine.ts';
import { handshakeLimitOf, quicLimitsOf } from '../limits.ts';
import { checkTrace } from '../trace.ts';
import { loadQuiche, type QuicheConfig, type QuicheHandle } from './binding.ts';
import { type ConfigContext, configure, configureOnce } from './config.ts';
import { QuicheConnection } from './connection.ts';
import { BASE_DATAGRAM, MAX_DATAGRAM, MAX_LOOPBACK_DATAGRAM } from './datagram-size.ts';
import { isLongHeader, parseLongHeader } from './packet-header.ts';
import { type RetryTokens, retryTokens } from './retry-token.ts';
import { bindSocket, type Entry, freeDatagram, pump, sent, withoutZone } from './socket.ts';

/** Length of our connection ids; the listener finds connections by it. */
const CID_LENGTH = 16;
/** A client's first packet is at least this long (RFC 9000 section 14.1). */
const MIN_INITIAL = 1200;

/**
 * Of `trace` it writes the key log alone: the binding has no qlog.
 *
 * @throws ERR_ENGINE_UNAVAILABLE when there is no quiche binding for this platform; ERR_OPTIONS when the
 * trace cannot be written.
 */
export const quicheEngine = async (trace: QuicTrace = {}): Promise<QuicEngine> => {
  const quiche = loadQuiche();
  checkTrace(trace);
  const { keyLog } = trace;
  const context: Context = { quiche, keyLog, configs: new WeakMap(), dialsFrom: new WeakMap() };
  return {
    name: 'quiche',
    lacks: [],
    dialsFromListener: true,
    listen: (options) => listen(context, options),
    dial: (remote, options) => {
      if (options.from === undefined) return dial(context, remote, options);
      const dialFrom = context.dialsFrom.get(options.from);
      if (dialFrom !== undefined) return dialFrom(remote, options);
      return Promise.reject(new LeanError('ERR_DIAL', "the listener is not this engine's"));
    },
  };
};

interface Context extends ConfigContext {
  readonly dialsFrom: DialsFrom;
}

/** Before the first packet. */
const logKeys = ({ keyLog }: Context, handle: QuicheHandle): QuicheHandle => {
  if (keyLog !== undefined) handle.setKeylog(keyLog);
  return handle;
};

/** How to dial from the socket of each listener. */
type DialsFrom = WeakMap<QuicListener, QuicEngine['dial']>;

/** The largest datagram to try for a host; also told to `config`, for the next connection made with it. */
const maxDatagramTo = (host: string, config: QuicheConfig): number => {
  const loopback = host.startsWith('127.') || host === '::1' || host.startsWith('::ffff:127.');
  const bytes = loopback ? MAX_LOOPBACK_DATAGRAM : MAX_DATAGRAM;
  config.setMaxSendUdpPayloadSize(bytes);
  return bytes;
};

// ── Dialer ─────────────────────────────────────────────────────────────────────────────────────

const dial = async (
  context: Context,
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
    const connection = new QuicheConnection(
      logKeys(
        context,
        context.quiche.Connection.connect(null, randomBytes(CID_LENGTH), local, target, config),
      ),
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
          signal?.removeEventListener('abort', onAbort);
          resolve(connection);
        },
        onEnd: (error) => {
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
      // ICMP's word that nobody is there counts only while nobody has answered.
      if (!connection.ready) {
        connection.fail(
          new LeanError('ERR_DIAL', `nothing answers at ${where}: ${messageOf(error)}`),
        );
      }
    });
    flush(entry);
  });
};

// ── Listener ───────────────────────────────────────────────────────────────────────────────────

const listen = async (context: Context, options: ListenOptions): Promise<QuicListener> => {
  const { quiche, dialsFrom } = context;
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
    entry.guest?.leave();
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
      // It is for logs, and whatever it throws has no place among a connection's errors.
    }
  };

  const accept = (packet: Buffer, from: RemoteInfo): Entry | undefined => {
    const header = parseLongHeader(packet);
    if (header === undefined || packet.length < MIN_INITIAL) return undefined;
    if (!isAnswerable(from.address, from.port)) return undefined;
    const reply = Buffer.allocUnsafeSlow(BASE_DATAGRAM);
    const answer = (length: number): undefined => {
      socket.send(reply.subarray(0, length), from.port, from.address);
      return undefined;
    };
    if (!quiche.versionIsSupported(header.version)) {
      if (header.version === 0) return undefined;
      return answer(quiche.negotiateVersion(header.scid, header.dcid, reply));
    }
    if (!header.initial || header.dcid.length < 8) return undefined;

    const remote = { host: withoutZone(from.address), port: from.port };
    const original =
      header.token.length === 0 ? undefined : openToken(tokens, remote, header.token, header.dcid);
    if (original === undefined && admission.pending >= limits.retryAbove) {
      const scid = randomBytes(CID_LENGTH);
      const token = tokens.issue(remote, header.dcid);
      const { scid: to, dcid, version } = header;
      return answer(quiche.retry(to, dcid, scid, token, version, reply));
    }

    const guest = admission.enter(remote.host, (why) => evict(entry, why));
    // Not reported: it would be at every packet of the client, whose address may be forged.
    if (typeof guest === 'string') return undefined;
    const scid = original === undefined ? randomBytes(CID_LENGTH) : Buffer.from(header.dcid);
    const maxDatagram = maxDatagramTo(remote.host, config);
    let handle: QuicheHandle;
    try {
      handle = logKeys(
        context,
        quiche.Connection.accept(scid, original ?? null, local, remote, config),
      );
    } catch (error) {
      guest.leave();
      throw error;
    }
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
          guest.authenticated();
          options.onConnection(connection);
        },
        onEnd: (error) => {
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
      // Until it hears our id, the client keeps using the one it made up.
      routes: [scid.toString('latin1'), Buffer.from(header.dcid).toString('latin1')],
      guest,
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
      const connection = new QuicheConnection(
        logKeys(context, quiche.Connection.connect(null, scid, local, target, dialConfig)),
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
            settle();
            resolve(connection);
          },
          onEnd: (error) => {
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
  dialsFrom.set(listener, dialFrom);
  return listener;
};

/** The first DCID of a client that came back with our token. */
const openToken = (
  tokens: RetryTokens,
  remote: SocketAddress,
  token: Uint8Array,
  dcid: Uint8Array,
): Uint8Array | undefined => (dcid.length === CID_LENGTH ? tokens.open(remote, token) : undefined);
