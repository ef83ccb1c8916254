/**
 * The quinn engine: the QUIC stack that rust-libp2p runs on, on any Node.js, as dialer and listener.
 * TLS accepts any certificate whose key signed the handshake; `authenticate` verifies it before the
 * connection is used.
 */

import { isIP } from 'node:net';
import { type CloseReason, describeClose } from '../../close-reason.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { TlsCredentials } from '../../tls/credentials.ts';
import {
  CONNECTION_REFUSED,
  type DialOptions,
  type EngineOptions,
  type ListenOptions,
  type QuicConnection,
  type QuicEngine,
  type QuicListener,
  type QuicTrace,
} from '../engine.ts';
import { handshakeLimitOf, type QuicLimits, quicLimitsOf } from '../limits.ts';
import { checkTrace, qlogOf } from '../trace.ts';
import type { NativeCredentials, NativeLimits } from './binding.ts';
import { admit, described, nativeWindowsOf, QuinnConnection } from './connection.ts';
import { type Driver, quinnDriver } from './driver.ts';

/** Added to quinn's own handshake timeout, as a safeguard; milliseconds. */
const HANDSHAKE_GRACE = 2_000;
/** How long to wait for a close to be sent, or a listener's socket to be closed; milliseconds. */
const CLOSE_WAIT = 2_000;

export interface QuinnOptions extends QuicTrace {
  /** Allows a key that does not belong to the certificate, to test that peers reject it. */
  readonly forge?: boolean;
}

/**
 * @throws ERR_ENGINE_UNAVAILABLE when there is no binary of quinn for this platform; ERR_OPTIONS when a
 * trace cannot be written.
 */
export const quinnEngine = async (options: QuinnOptions = {}): Promise<QuicEngine> => {
  checkTrace(options);
  const driver = quinnDriver();
  const context: Context = { driver, options, credentials: new WeakMap(), sockets: new WeakMap() };
  return {
    name: 'quinn',
    lacks: [],
    dialsFromListener: true,
    listen: (listenOptions) => listen(context, listenOptions),
    dial: (remote, dialOptions) => dial(context, remote, dialOptions),
  };
};

interface Context {
  readonly driver: Driver;
  readonly options: QuinnOptions;
  /** Parsed once. */
  readonly credentials: WeakMap<TlsCredentials, NativeCredentials>;
  /** Each listener's number and the connections that end with it. */
  readonly sockets: WeakMap<QuicListener, ListenerSocket>;
}

interface ListenerSocket {
  readonly handle: number;
  readonly connections: Set<QuinnConnection>;
}

/** @throws ERR_KEY_MALFORMED when quinn cannot use them. */
const credentialsOf = (context: Context, { credentials }: EngineOptions): NativeCredentials => {
  const known = context.credentials.get(credentials);
  if (known !== undefined) return known;
  const { certificatePem, privateKeyPem } = credentials;
  const { Credentials } = context.driver.native;
  let made: NativeCredentials;
  try {
    const { keyLog, forge } = context.options;
    made = new Credentials(certificatePem, privateKeyPem, keyLog, forge);
  } catch (error) {
    throw new LeanError('ERR_KEY_MALFORMED', `TLS credentials: ${messageOf(error)}`);
  }
  context.credentials.set(credentials, made);
  return made;
};

const nativeLimits = (limits: QuicLimits): NativeLimits => ({
  ...limits,
  ...nativeWindowsOf(limits),
});

const checkAddress = ({ host }: SocketAddress): void => {
  if (isIP(host) === 0) throw new LeanError('ERR_ADDRESS', `not an IP address: ${host}`);
};

// ── Dialer ─────────────────────────────────────────────────────────────────────────────────────

const dial = async (
  context: Context,
  remote: SocketAddress,
  options: DialOptions,
): Promise<QuicConnection> => {
  const { signal } = options;
  if (signal?.aborted === true) throw dialAborted();
  checkAddress(remote);
  const { driver } = context;
  const { native, engine } = driver;
  const limits = quicLimitsOf(options.limits);
  const limit = handshakeLimitOf(options, limits);
  const socket = options.from === undefined ? undefined : context.sockets.get(options.from);
  const credentials = credentialsOf(context, options);
  const where = `${remote.host} port ${remote.port}`;
  if (options.from !== undefined && socket === undefined) {
    throw new LeanError('ERR_DIAL', `cannot dial ${where}: the listener is not this engine's`);
  }
  let handle: number;
  try {
    const from = socket?.handle ?? 0;
    const { host, port } = remote;
    const qlog = qlogOf(context.options);
    const bounds = { ...nativeLimits(limits), handshakeTimeout: limit };
    handle = native.dial(engine, host, port, credentials, bounds, from, qlog);
  } catch (error) {
    throw new LeanError('ERR_DIAL', `cannot dial ${where}: ${messageOf(error)}`);
  }
  driver.hold();
  let connection: QuinnConnection | undefined;
  try {
    await handshake(driver, handle, limit, where, signal);
    const chain = native.certificates(engine, handle) ?? [];
    try {
      options.authenticate(chain);
    } catch (error) {
      await refuse(driver, handle, error);
      throw error;
    }
    const made = new QuinnConnection(driver, handle, {
      role: 'dialer',
      limits,
      remoteAddress: admit(driver, handle) ?? remote,
      peerCertificate: chain[0] ?? NO_CERTIFICATE,
      onReleased: () => {
        driver.letGo();
        socket?.connections.delete(made);
      },
    });
    connection = made;
    socket?.connections.add(made);
    return made;
  } finally {
    if (connection === undefined) driver.letGo();
  }
};

const NO_CERTIFICATE = new Uint8Array(0);

const dialAborted = (): LeanError => new LeanError('ERR_ABORTED', 'the dial was aborted');

/** Resolves when the handshake of the dial `handle` is complete; if it rejects, the dial was cancelled. */
const handshake = (
  { native, engine, dials }: Driver,
  handle: number,
  timeout: number,
  where: string,
  signal: AbortSignal | undefined,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const end = (error?: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      dials.delete(handle);
      if (error === undefined) {
        resolve();
      } else {
        native.abort(engine, handle);
        reject(error);
      }
    };
    const onAbort = (): void => end(dialAborted());
    const timer = Number.isFinite(timeout)
      ? setTimeout(() => end(handshakeTimeout(timeout)), timeout + HANDSHAKE_GRACE)
      : undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    dials.set(handle, {
      connected: () => end(),
      failed: () => {
        const close = native.takeFailure(engine, handle)?.close;
        end(close === undefined ? handshakeTimeout(timeout) : dialError(close, where, timeout));
      },
    });
  });

const handshakeTimeout = (timeout: number): LeanError =>
  new LeanError(
    'ERR_TIMEOUT',
    Number.isFinite(timeout)
      ? `no QUIC handshake within ${timeout} ms`
      : 'the peer went silent during the QUIC handshake',
  );

const dialError = (close: CloseReason, where: string, timeout: number): LeanError => {
  if (close.by === 'timeout') return handshakeTimeout(timeout);
  const refused = close.by === 'remote' && !close.application && close.code === CONNECTION_REFUSED;
  const code = refused ? 'ERR_DIAL' : 'ERR_HANDSHAKE';
  return new LeanError(code, `QUIC handshake with ${where} failed: ${describe(close)}`);
};

const describe = (close: CloseReason): string => describeClose(described(close));

/** Closes a connection that `authenticate` refused; resolves when the close has been sent. */
const refuse = (driver: Driver, handle: number, error: unknown): Promise<void> =>
  new Promise((resolve) => {
    const { native, engine, connections } = driver;
    const over = (): void => {
      if (!connections.delete(handle)) return;
      clearTimeout(timer);
      native.release(engine, handle);
      resolve();
    };
    const timer = setTimeout(over, CLOSE_WAIT);
    const ignore = (): void => {};
    connections.set(handle, {
      streamsOpened: ignore,
      streamsAllowed: ignore,
      over: ignore,
      closeSent: over,
      broken: over,
    });
    native.refuse(engine, handle, messageOf(error));
  });

// ── Listener ───────────────────────────────────────────────────────────────────────────────────

const listen = async (context: Context, options: ListenOptions): Promise<QuicListener> => {
  checkAddress(options.address);
  const { driver } = context;
  const { native, engine } = driver;
  const limits = quicLimitsOf(options.limits);
  const credentials = credentialsOf(context, options);
  const { host, port } = options.address;
  let handle: number;
  try {
    const qlog = qlogOf(context.options);
    handle = native.listen(engine, host, port, credentials, nativeLimits(limits), qlog);
  } catch (error) {
    throw new LeanError('ERR_LISTEN', `cannot listen on ${host} port ${port}: ${messageOf(error)}`);
  }
  const address = native.listenerAddress(engine, handle) ?? options.address;
  const connections = new Set<QuinnConnection>();
  const refusals = new Set<Promise<void>>();
  let closing: Promise<void> | undefined;

  /** Callbacks may throw; nothing that a peer does may end the process. */
  const refused = (error: Error, remote: SocketAddress): void => {
    try {
      options.onRefused?.(error, remote);
    } catch {
      // It is only for logs.
    }
  };

  const onHandshake = (number: number): void => {
    const chain = native.certificates(engine, number);
    // Evicted meanwhile; another event reports that.
    if (chain === null) return;
    try {
      options.authenticate(chain);
    } catch (error) {
      const remote = native.remoteAddress(engine, number) ?? UNKNOWN;
      const refusal = refuse(driver, number, error).finally(() => refusals.delete(refusal));
      refusals.add(refusal);
      refused(error instanceof Error ? error : new Error(String(error)), remote);
      return;
    }
    const remoteAddress = admit(driver, number);
    if (remoteAddress === undefined) return;
    const connection = new QuinnConnection(driver, number, {
      role: 'listener',
      limits,
      remoteAddress,
      peerCertificate: chain[0] ?? NO_CERTIFICATE,
      onReleased: () => connections.delete(connection),
    });
    connections.add(connection);
    try {
      options.onConnection(connection);
    } catch {
      connection.close().catch(() => {});
    }
  };

  const closed = new Promise<void>((resolve) => {
    driver.listeners.set(handle, {
      connected(number) {
        if (closing === undefined) onHandshake(number);
        else native.abort(engine, number);
      },
      failed(number) {
        const failure = native.takeFailure(engine, number);
        if (failure === null || closing !== undefined) return;
        refused(refusedHandshake(failure.close), failure.remote);
      },
      closed: resolve,
      pendingRose: () => place?.arrived(),
    });
  });
  driver.hold();
  // The network thread does not wait for the pool: there may be more until this thread handles the event.
  const place = options.pendingPool?.add({
    pending: () => native.pending(engine, handle),
    crowd: () => native.crowd(engine, handle),
    evictOldest: () => native.evictOldest(engine, handle),
    tellAbove: (count) => native.tellAbove(engine, handle, count),
  });

  const close = async (): Promise<void> => {
    const closes = [...connections].map((connection) => connection.close());
    await Promise.all([...closes, ...refusals]);
    native.closeListener(engine, handle);
    place?.leave();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_WAIT);
    });
    await Promise.race([closed, late]);
    clearTimeout(timer);
    driver.listeners.delete(handle);
    driver.letGo();
  };
  const listener: QuicListener = {
    address,
    sendDatagram: (remote, data) => {
      if (closing === undefined)
        native.sendDatagram(engine, handle, remote.host, remote.port, data);
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
  context.sockets.set(listener, { handle, connections });
  return listener;
};

const UNKNOWN: SocketAddress = { host: '', port: 0 };

/** The reason in native/src/close.rs, which does not say which of the two limits it was. */
const EVICTED = 'too many connections: evicted';

const refusedHandshake = (close: CloseReason): LeanError =>
  close.by === 'timeout'
    ? new LeanError(
        'ERR_TIMEOUT',
        'the peer did not finish the QUIC handshake in time (handshakeTimeout)',
      )
    : close.reason === EVICTED
      ? new LeanError('ERR_CONNECTION_CLOSED', `${EVICTED} (maxPending or maxPendingPerHost)`)
      : new LeanError('ERR_HANDSHAKE', `QUIC handshake failed: ${describe(close)}`);
