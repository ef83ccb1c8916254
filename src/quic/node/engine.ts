/**
 * The `node:quic` engine: Node 24.20 or 26 built with `--experimental-quic` and started with that
 * flag, or, as dialer only, Bun 1.4.
 *
 * `node:quic` has two limitations. A client always sends SNI: an empty name means `localhost`
 * to Node and is an error to Bun. libp2p servers must ignore it (libp2p/specs tls/tls.md), so the
 * name is `localhost`, which reveals nothing. And Bun's listener refuses every self-signed client.
 */

import { createPrivateKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createSecureContext } from 'node:tls';
import { createAdmission, tooMany } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import { isLoopback, type SocketAddress } from '../../socket-address.ts';
import { unanswerableHosts } from '../answerable.ts';
import {
  ALPN,
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
import { checkTrace } from '../trace.ts';
import { addressOf, NodeQuicEngineConnection } from './connection.ts';
import { guardWrites } from './late-write.ts';
import { STREAM_BYTES } from './memory-poll.ts';
import { NO_STATELESS_RESET } from './stateless-reset.ts';
import { traceOptions } from './trace.ts';
import type {
  Identity,
  NodeQuic,
  NodeQuicAddress,
  NodeQuicEndpoint,
  NodeQuicError,
  NodeQuicSession,
  NodeQuicStream,
  SessionOptions,
} from './types.ts';

/** Requested from the kernel, which may grant less (net.core.rmem_max); it must hold a burst. */
const SOCKET_BUFFER = 4 << 20;
/** An empty list of root certificates; Bun requires one. */
const NO_ROOTS = [Buffer.alloc(0)];
/**
 * The receive window of a connection: unlimited, as each stream has its own. `node:quic` (24.21) returns no
 * credit for bytes that were unread when their stream closed, which happens when they arrive with the
 * FIN: after enough short answers the connection would stall.
 */
const NO_WINDOW = Number.MAX_SAFE_INTEGER;
/** A stream's initial window, as large as the receive buffer that it has anyway; bytes. */
const FIRST_WINDOW = STREAM_BYTES;
/** The share of `connectionMemory` that the peer's streams may take up without any unread bytes. */
const STREAMS_SHARE = 0.25;
/** The share of `connectionMemory` that the window of one stream may grow to. */
const WINDOW_SHARE = 0.25;
/** The handshake timeout given to `node:quic` where there should be none; milliseconds. */
const LONGEST_HANDSHAKE = 3_600_000;
/** `node:quic` counts connections in 16 bits. */
const MAX_COUNT = 0xffff;
/** Effectively off: libp2p needs no limits per second and host; `maxPending` bounds what is costly. */
const NO_RATE_LIMIT = 1_000_000;

/** Its connections have no window of their own, and it makes every client prove its address. */
const LACKS: readonly (keyof QuicLimits)[] = ['connectionWindow', 'retryAbove'];

/** @throws ERR_ENGINE_UNAVAILABLE with what is missing; ERR_OPTIONS when the trace cannot be written. */
export const nodeQuicEngine = async (trace: QuicTrace = {}): Promise<QuicEngine> => {
  const quic = await load();
  checkTrace(trace);
  // OpenSSL's initialisation takes 10 ms, which would otherwise be part of the first handshake.
  createSecureContext();
  const sockets: DialSockets = new Map();
  return {
    name: 'node',
    // Node closes a socket, with all its connections, when a datagram cannot be sent: a dial from a
    // listener's, to an address that a peer made up, would end the listener.
    dialsFromListener: false,
    lacks: RUNTIME.quicCounts ? LACKS : [...LACKS, 'connectionMemory', 'stallTimeout'],
    listen: (options) => listen(quic, trace, options),
    dial: (remote, options) => dial(quic, trace, sockets, remote, options),
  };
};

const load = async (): Promise<NodeQuic> => {
  // Not a literal, as neither the compiler nor bundlers know the module.
  const specifier: string = 'node:quic';
  let quic: NodeQuic;
  try {
    quic = (await import(specifier)) as NodeQuic;
  } catch (error) {
    throw unavailable(whyMissing(), error);
  }
  // Node 25.0 to 25.4 had an early version, without these.
  const { QuicEndpoint, QuicSession, QuicStream } = quic;
  if (
    QuicEndpoint === undefined ||
    QuicSession === undefined ||
    QuicStream === undefined ||
    !('peerCertificate' in QuicSession.prototype) ||
    !('writer' in QuicStream.prototype)
  ) {
    throw unavailable(
      `node:quic of ${RUNTIME.name} is too old; Node 24.20 or 26 has what it takes`,
    );
  }
  return quic;
};

const whyMissing = (): string => {
  const built = (process.config?.variables as Record<string, unknown> | undefined)?.node_use_quic;
  return built === true
    ? `${RUNTIME.name} has node:quic, but was started without --experimental-quic`
    : `${RUNTIME.name} was built without node:quic (./configure --experimental-quic)`;
};

const unavailable = (message: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ENGINE_UNAVAILABLE', message, { cause });

// ------------------------------------------------------------------ options

const sessionOptions = (
  limits: QuicLimits,
  /** Milliseconds; the engine's own timeout, so `node:quic`'s must not be shorter. */
  handshakeLimit: number,
  onstream: SessionOptions['onstream'],
): SessionOptions => {
  const { connectionMemory } = limits;
  const mostStreams = Math.max(1, Math.floor((connectionMemory * STREAMS_SHARE) / STREAM_BYTES));
  const streamWindow = Math.min(limits.streamWindow, Math.floor(connectionMemory * WINDOW_SHARE));
  const firstWindow = Math.min(FIRST_WINDOW, streamWindow);
  return {
    transportParams: {
      initialMaxStreamDataBidiLocal: firstWindow,
      initialMaxStreamDataBidiRemote: firstWindow,
      initialMaxStreamDataUni: 0,
      initialMaxData: NO_WINDOW,
      initialMaxStreamsBidi: Math.min(limits.maxStreams, mostStreams),
      initialMaxStreamsUni: 0,
      maxIdleTimeout: Math.ceil(limits.idleTimeout / 1000),
      maxDatagramFrameSize: 0,
    },
    // So far a stream's window grows while it is read.
    maxStreamWindow: streamWindow,
    maxWindow: limits.connectionWindow,
    // Our own timer fires first and reports a timeout; node's ends with INTERNAL_ERROR.
    handshakeTimeout: Math.min(handshakeLimit + 1000, LONGEST_HANDSHAKE),
    // The default destroys streams that only we write on after 30 s.
    streamIdleTimeout: 0,
    enableEarlyData: false,
    // libp2p certificates are self-signed; `authenticate` verifies them.
    rejectUnauthorized: false,
    onerror: ignore,
    onstream,
  };
};

/** Parsed once. */
const identities = new WeakMap<EngineOptions['credentials'], Identity>();

const identityOf = ({ credentials }: EngineOptions): Identity => {
  const known = identities.get(credentials);
  if (known !== undefined) return known;
  const identity = {
    keys: [loadPrivateKey(credentials.privateKeyPem)],
    certs: [Buffer.from(credentials.certificatePem)],
  };
  identities.set(credentials, identity);
  return identity;
};

/**
 * A TLS handshake that a `node:quic` listener refused leaves its error in OpenSSL's queue, and the next
 * `createPrivateKey` throws it: any client could make a dial of ours fail. Throwing removes the error
 * from the queue, so the second attempt is reliable.
 */
export const loadPrivateKey = (pem: string): KeyObject => {
  try {
    return createPrivateKey(pem);
  } catch {
    return createPrivateKey(pem);
  }
};

const nodeAddress = ({ host, port }: SocketAddress): NodeQuicAddress => {
  // Not isIPv6(): its long pattern, compiled at the first call, costs a dial 4 ms.
  const version = isIP(host);
  if (version === 0) throw new LeanError('ERR_ADDRESS', `not an IP address: ${host}`);
  return { address: host, port, family: version === 6 ? 'ipv6' : 'ipv4' };
};

/** DER, leaf first. Must not be called before the handshake is over: "none" would stick. */
const chainOf = (session: NodeQuicSession): Uint8Array[] => {
  const chain: Uint8Array[] = [];
  // `issuerCertificate` is what the peer sent next, whoever issued the leaf; undefined if nothing.
  let certificate = session.peerCertificate;
  while (certificate !== undefined && chain.length < 4) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
};

// ------------------------------------------------------------------ dial

/**
 * The sockets of dials, by remote address and port. Dials to one listener share a socket: a listener that
 * validates addresses (RFC 9000 section 8.1), which costs a round trip, then does so once. Dials to different
 * listeners do not: if a datagram cannot be sent, node:quic closes its socket with all its connections.
 */
type DialSockets = Map<string, NodeQuicEndpoint>;

/** How long a socket without connections is kept; seconds. It keeps no process alive. */
const SOCKET_IDLE = 2;

/** How long a closing listener waits for its last packets to be sent; milliseconds. */
const CLOSE_GRACE = 250;

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

const dial = async (
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
  session.closed.catch(ignore);
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

/**
 * Resolves when TLS is done; node:quic alone would take 8 s and more to notice some failures.
 *
 * @param timeout milliseconds; `Infinity`: none.
 */
const handshake = (
  session: NodeQuicSession,
  timeout: number,
  signal?: AbortSignal,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => end(new LeanError('ERR_ABORTED', 'the dial was aborted'));
    const expire = (): void =>
      end(new LeanError('ERR_TIMEOUT', `no handshake within ${timeout} ms`));
    const timer = Number.isFinite(timeout) ? setTimeout(expire, timeout) : undefined;
    const end = (error?: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    session.opened.then(() => end(), end);
    // While the session was made.
    if (signal?.aborted === true) onAbort();
  });

const dialError = (error: unknown, remote: SocketAddress): LeanError => {
  if (error instanceof LeanError) return error;
  const { errorCode } = error as NodeQuicError;
  const code = errorCode === BigInt(CONNECTION_REFUSED) ? 'ERR_DIAL' : 'ERR_HANDSHAKE';
  const to = `${remote.host} port ${remote.port}`;
  return new LeanError(code, `handshake with ${to} failed: ${messageOf(error)}`, { cause: error });
};

// ------------------------------------------------------------------ listen

const listen = async (
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
