/** Dials with `node:quic`. */

import { isIP } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import type { SocketAddress } from '../../socket-address.ts';
import {
  ALPN,
  CONNECTION_REFUSED,
  type DialOptions,
  type QuicConnection,
  type QuicTrace,
} from '../engine.ts';
import { handshakeLimitOf, quicLimitsOf } from '../limits.ts';
import { NodeQuicEngineConnection } from './connection.ts';
import { chainOf, handshake } from './handshake.ts';
import { guardWrites } from './late-write.ts';
import { identityOf, nodeAddress, SOCKET_BUFFER, sessionOptions } from './session-options.ts';
import { NO_STATELESS_RESET } from './stateless-reset.ts';
import { traceOptions } from './trace.ts';
import type {
  NodeQuic,
  NodeQuicAddress,
  NodeQuicEndpoint,
  NodeQuicError,
  NodeQuicSession,
  NodeQuicStream,
} from './types.ts';

/** An empty list of root certificates; Bun requires one. */
const NO_ROOTS = [Buffer.alloc(0)];

/**
 * The sockets of dials, by remote address and port. Dials to one listener share a socket: a listener that
 * validates addresses (RFC 9000 section 8.1), which costs a round trip, then does so once. Dials to different
 * listeners do not: if a datagram cannot be sent, node:quic closes its socket with all its connections.
 */
export type DialSockets = Map<string, NodeQuicEndpoint>;

/** How long a socket without connections is kept; seconds. It keeps no process alive. */
const SOCKET_IDLE = 2;

const socketTo = (
  { QuicEndpoint }: NodeQuic,
  sockets: DialSockets,
  remote: NodeQuicAddress,
): NodeQuicEndpoint => {
  const key = `${remote.address} ${remote.port}`;
  const known = sockets.get(key);
  if (known !== undefined && !known.destroyed) return known;
  const socket = new QuicEndpoint({
    // The default is bound to 127.0.0.1.
    address: { ...remote, address: localHost(remote.address), port: 0 },
    udpReceiveBufferSize: SOCKET_BUFFER,
    idleTimeout: SOCKET_IDLE,
    ...NO_STATELESS_RESET,
  });
  sockets.set(key, socket);
  const forget = (): void => {
    if (sockets.get(key) === socket) sockets.delete(key);
  };
  socket.closed.then(forget, forget);
  return socket;
};

/** As `QuicEngine.dial`. */
export const dial = async (
  quic: NodeQuic,
  trace: QuicTrace,
  sockets: DialSockets,
  remote: SocketAddress,
  options: DialOptions,
): Promise<QuicConnection> => {
  const { signal } = options;
  if (signal?.aborted === true) throw new LeanError('ERR_ABORTED', 'the dial was aborted');
  if (options.from !== undefined) {
    throw new LeanError('ERR_UNSUPPORTED', "node:quic does not dial from a listener's socket");
  }
  const limits = quicLimitsOf(options.limits);
  const address = nodeAddress(remote);
  const identity = identityOf(options);
  const limit = handshakeLimitOf(options, limits);
  const early: NodeQuicStream[] = [];
  let session: NodeQuicSession;
  guardWrites();
  try {
    session = await quic.connect(address, {
      ...sessionOptions(limits, limit, (stream) => void early.push(stream)),
      ...traceOptions(trace, 'dialer'),
      ...identity,
      endpoint: socketTo(quic, sockets, address),
      alpn: ALPN,
      servername: 'localhost',
      verifyPeer: 'manual',
      // Without any, each dial reads all root certificates, 5 ms, of which none is of use here.
      ca: RUNTIME.quicTakesNoRoots ? NO_ROOTS : identity.certs,
    });
  } catch (error) {
    throw new LeanError('ERR_DIAL', `cannot dial ${remote.host}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  session.closed.catch(() => {});
  try {
    await handshake(session, limit, signal);
  } catch (error) {
    // Without a CONNECTION_CLOSE: node:quic cannot send one before the handshake is complete.
    session.destroy();
    throw dialError(error, remote);
  }
  // Outside node's handshake callback: what is sent in there may be lost.
  await nextTurn();
  const connection = new NodeQuicEngineConnection(session, limits);
  try {
    const chain = chainOf(session);
    options.authenticate(chain);
    connection.peerCertificate = chain[0] ?? connection.peerCertificate;
  } catch (error) {
    await connection.refuse(error);
    throw error;
  }
  session.onstream = (stream) => connection.accept(stream);
  for (const stream of early) connection.accept(stream);
  return connection;
};

/** Where to bind; `localAddress` of the connection shows it, the wildcard where it is one. */
const localHost = (remote: string): string => {
  if (isIP(remote) === 6) return remote === '::1' ? '::1' : '::';
  return remote.startsWith('127.') ? '127.0.0.1' : '0.0.0.0';
};

const dialError = (error: unknown, remote: SocketAddress): LeanError => {
  if (error instanceof LeanError) return error;
  const { errorCode } = error as NodeQuicError;
  const code = errorCode === BigInt(CONNECTION_REFUSED) ? 'ERR_DIAL' : 'ERR_HANDSHAKE';
  const to = `${remote.host} port ${remote.port}`;
  return new LeanError(code, `handshake with ${to} failed: ${messageOf(error)}`, { cause: error });
};
