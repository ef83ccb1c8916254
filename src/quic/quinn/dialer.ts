/** Dials with quinn: the handshake runs on the network thread, and its certificate is verified here. */

import type { CloseReason } from '../../close-reason.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import { CONNECTION_REFUSED, type DialOptions, type QuicConnection } from '../engine.ts';
import { handshakeLimitOf, quicLimitsOf } from '../limits.ts';
import { qlogOf } from '../trace.ts';
import { admit, QuinnConnection } from './connection.ts';
import {
  checkAddress,
  credentialsOf,
  describe,
  NO_CERTIFICATE,
  nativeLimits,
  type QuinnContext,
  refuse,
} from './context.ts';
import type { Driver } from './driver.ts';

/** Added to quinn's own handshake timeout, as a safeguard; milliseconds. */
const HANDSHAKE_GRACE = 2_000;

/** As `QuicEngine.dial`. */
export const dial = async (
  context: QuinnContext,
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
