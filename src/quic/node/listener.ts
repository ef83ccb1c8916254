/** Listens with `node:quic`. */

import { createAdmission, tooMany } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import { isLoopback, type SocketAddress } from '../../socket-address.ts';
import { unanswerableHosts } from '../answerable.ts';
import { ALPN, type ListenOptions, type QuicListener, type QuicTrace } from '../engine.ts';
import { quicLimitsOf } from '../limits.ts';
import { addressOf, NodeQuicEngineConnection } from './connection.ts';
import { chainOf, handshake } from './handshake.ts';
import { guardWrites } from './late-write.ts';
import { unavailable } from './load.ts';
import { identityOf, nodeAddress, SOCKET_BUFFER, sessionOptions } from './session-options.ts';
import { NO_STATELESS_RESET } from './stateless-reset.ts';
import { traceOptions } from './trace.ts';
import type { NodeQuic, NodeQuicEndpoint, NodeQuicSession, NodeQuicStream } from './types.ts';

/** `node:quic` counts connections in 16 bits. */
const MAX_COUNT = 0xffff;
/** Effectively off: libp2p needs no limits per second and host; `maxPending` bounds what is costly. */
const NO_RATE_LIMIT = 1_000_000;

/** A client whose packets are lost sends them again after 1, 3, 7, 15 and 31 s; the default, 10 s, is too short. */
const RETRY_TOKEN_SECONDS = 60;
/** How long a closing listener waits for its last packets to be sent; milliseconds. */
const CLOSE_GRACE = 250;

/** As `QuicEngine.listen`. */
export const listen = async (
  quic: NodeQuic,
  trace: QuicTrace,
  options: ListenOptions,
): Promise<QuicListener> => {
  if (!RUNTIME.quicListens) {
    throw unavailable(`node:quic of ${RUNTIME.name} cannot listen: it refuses self-signed clients`);
  }
  const limits = quicLimitsOf(options.limits);
  const address = nodeAddress(options.address);
  const ceiling = Math.min(limits.maxConnections + limits.maxPending, MAX_COUNT);
  const connections = new Set<NodeQuicEngineConnection>();
  const handshakes = new Set<NodeQuicSession>();
  const admission = createAdmission(limits, options.pendingPool);
  let endpoint: NodeQuicEndpoint | undefined;
  let closing: Promise<void> | undefined;

  /** Nothing that a peer sends may end the process or the listener. */
  const refused = (error: unknown, remote: SocketAddress): void => {
    try {
      options.onRefused?.(error instanceof Error ? error : new Error(String(error)), remote);
    } catch {
      // A callback threw.
    }
  };

  const handUp = (connection: NodeQuicEngineConnection): void => {
    try {
      options.onConnection(connection);
    } catch {
      connection.close().catch(ignore);
    }
  };

  const onSession = (session: NodeQuicSession): void => {
    guardWrites();
    session.closed.catch(ignore);
    try {
      serve(session);
    } catch {
      // The session ended meanwhile. node:quic would destroy the endpoint for it.
      session.destroy();
    }
  };

  const serve = (session: NodeQuicSession): void => {
    // Gone once the session is destroyed.
    const remote = addressOf(session.path?.remote);
    let evicted: LeanError | undefined;
    // Without a CONNECTION_CLOSE: node:quic cannot send one before the handshake is complete.
    const guest = admission.enter(remote.host, (why) => {
      evicted = why;
      session.destroy();
    });
    if (typeof guest === 'string') {
      session.destroy();
      refused(tooMany(guest), remote);
      return;
    }
    session.closed.catch(ignore).then(guest.leave).catch(ignore);
    handshakes.add(session);
    const early: NodeQuicStream[] = [];
    session.onstream = (stream) => void early.push(stream);
    const onOpened = (): void => {
      if (session.destroyed || closing !== undefined) return;
      const connection = new NodeQuicEngineConnection(session, limits);
      try {
        const chain = chainOf(session);
        options.authenticate(chain);
        connection.peerCertificate = chain[0] ?? connection.peerCertificate;
      } catch (error) {
        connection.refuse(error).catch(ignore);
        refused(error, remote);
        return;
      }
      guest.authenticated();
      connections.add(connection);
      connection.closed.then(() => connections.delete(connection)).catch(ignore);
      session.onstream = (stream) => connection.accept(stream);
      for (const stream of early) connection.accept(stream);
      // Outside node's own handshake callback: a first write in there may be lost.
      setImmediate(handUp, connection);
    };
    handshake(session, limits.handshakeTimeout)
      .finally(() => handshakes.delete(session))
      .then(onOpened)
      .catch((error) => {
        session.destroy();
        if (closing === undefined) refused(evicted ?? handshakeError(error), remote);
      })
      .catch(ignore);
  };

  try {
    endpoint = await quic.listen(onSession, {
      // Set anew for each session, so that every stream finds its connection.
      ...sessionOptions(limits, limits.handshakeTimeout, ignore),
      ...traceOptions(trace, 'listener'),
      endpoint: {
        address,
        // As go and rust: `::` does not take the IPv4 port too.
        ipv6Only: address.family === 'ipv6',
        // Costs new clients a round trip. But node:quic hands out NEW_TOKEN tokens, and without this
        // it silently drops the clients that come back with one (quinn: rust-libp2p, js-libp2p).
        validateAddress: true,
        udpReceiveBufferSize: SOCKET_BUFFER,
        // Far above what `admission` allows: node also counts those whose first words are not complete,
        // which it has not told of.
        maxConnectionsTotal: ceiling,
        maxConnectionsPerHost: isLoopback(address.address) ? 0 : Math.ceil(ceiling / 2),
        sessionCreationRate: NO_RATE_LIMIT,
        sessionCreationBurst: NO_RATE_LIMIT,
        // 100 unless told otherwise: who sent so many first packets from made-up addresses kept all others out. A Retry
        // is shorter than what it answers, and costs no memory.
        retryRate: NO_RATE_LIMIT,
        retryBurst: NO_RATE_LIMIT,
        retryTokenExpiration: RETRY_TOKEN_SECONDS,
        blockList: unanswerableHosts(),
        ...NO_STATELESS_RESET,
      },
      alpn: [ALPN],
      sni: { '*': identityOf(options) },
      verifyClient: true,
    });
    endpoint.closed.catch(ignore);
    // A failed bind shows here, not above.
    if (endpoint.address === undefined) await endpoint.closed;
  } catch (error) {
    throw cannotListen(options.address, messageOf(error));
  }
  const { address: local } = endpoint;
  if (local === undefined) throw cannotListen(options.address, 'the socket closed at once');

  const close = async (listening: NodeQuicEndpoint): Promise<void> => {
    admission.close();
    await Promise.all([...connections].map((connection) => connection.close()));
    for (const session of handshakes) session.destroy();
    const closed = listening.close().catch(ignore);
    // It would wait forever for connections in their handshake, which it has not reported.
    const timer = setTimeout(() => listening.destroy(), CLOSE_GRACE);
    await closed;
    clearTimeout(timer);
  };
  const listening = endpoint;
  return {
    address: addressOf(local),
    close: () => {
      closing ??= close(listening);
      return closing;
    },
  };
};

const cannotListen = ({ host, port }: SocketAddress, why: string): LeanError =>
  new LeanError('ERR_LISTEN', `cannot listen on ${host} port ${port}: ${why}`);

const handshakeError = (error: unknown): LeanError =>
  error instanceof LeanError
    ? error
    : new LeanError('ERR_HANDSHAKE', `handshake failed: ${messageOf(error)}`, { cause: error });

const ignore = (): void => {};
