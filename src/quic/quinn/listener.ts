/** Listens with quinn: its network thread does handshakes, and their certificates are verified here. */

import type { CloseReason } from '../../close-reason.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { ListenOptions, QuicListener } from '../engine.ts';
import { quicLimitsOf } from '../limits.ts';
import { qlogOf } from '../trace.ts';
import { admit, QuinnConnection } from './connection.ts';
import {
  CLOSE_WAIT,
  checkAddress,
  credentialsOf,
  describe,
  NO_CERTIFICATE,
  nativeLimits,
  type QuinnContext,
  refuse,
} from './context.ts';

/** As `QuicEngine.listen`. */
export const listen = async (
  context: QuinnContext,
  options: ListenOptions,
): Promise<QuicListener> => {
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
