/**
 * A libp2p node: an identity, transports to dial and listen with, and handlers for the protocols
 * that peers may open. It answers ping and identify.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import { type Connection, describeClose } from '../connection.ts';
import { orAborted, startDeadline, withDeadline } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { generateHostKey, type HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import {
  type AddressKind,
  kindOf,
  parseMultiaddr,
  peerOf,
  reachableAddresses,
  resolveMultiaddr,
  withoutPeer,
  withPeer,
} from '../multiaddr.ts';
import { negotiate, selectLazily } from '../multistream.ts';
import { handleIdentify, IDENTIFY } from '../protocols/identify.ts';
import { handlePing, PING } from '../protocols/ping.ts';
import type { EngineName } from '../quic/engine.ts';
import { selectEngine } from '../quic/select.ts';
import type { Stream } from '../stream.ts';
import { issueCertificate, type TlsIdentity } from '../tls/issue.ts';
import type { Transport, TransportListener } from '../transports/transport.ts';
import { AGENT_VERSION } from '../version.ts';
import { type Failure, failureOf, race } from './dial-race.ts';
import { type NodeLimits, nodeLimitsOf } from './limits.ts';

export interface NodeOptions {
  /** Who this node is; default: a new one. */
  readonly hostKey?: HostKey;
  /** Transports that come before the built-in one of the same address kind. */
  readonly transports?: (context: TransportContext) => Transport[] | Promise<Transport[]>;
  /**
   * Built-in transports that are ready to dial when `createNode` resolves; the others get ready when an
   * address needs them, and those that cannot be made ready fail then. Default: QUIC, or none where
   * `transports` is given.
   */
  readonly prepare?: readonly AddressKind[];
  /** Whether the built-in transport dials `wss` listeners whatever their certificate: see `WsOptions`. */
  readonly insecureWss?: boolean;
  /** Default `auto`: see `selectEngine`. */
  readonly quicEngine?: 'auto' | EngineName;
  /** Told of every step, with details that are strings and numbers. Must not throw. */
  readonly log?: (event: string, detail?: Record<string, unknown>) => void;
  /** Milliseconds that a dial may take in all: names, every address, the upgrade. Default 15,000. */
  readonly dialTimeout?: number;
  /** What one peer may cost. Each that is not given has its default (`DEFAULT_NODE_LIMITS`). */
  readonly limits?: Partial<NodeLimits>;
  /** What identify says; default `libp2p-lean/<version>`. */
  readonly agentVersion?: string;
}

/** What a transport may need of its node. */
export interface TransportContext {
  readonly hostKey: HostKey;
  readonly localPeer: PeerId;
  /** The node's libp2p certificate, issued at the first call. */
  readonly tls: () => Promise<TlsIdentity>;
  readonly limits: NodeLimits;
}

/**
 * Serves one stream that a peer opened. When it resolves, our side of the stream is closed and what
 * the peer still sends is thrown away; when it rejects, the stream is reset and the error logged.
 */
export type StreamHandler = (stream: Stream, connection: Connection) => Promise<void>;

export interface LeanNode {
  readonly peerId: PeerId;

  /**
   * Listens on one address, on any free port for port 0.
   *
   * @returns the bound address with its real port and `/p2p/<peer id>`. Its host may be unspecified
   * (`0.0.0.0`): `addresses()` has what other machines can dial.
   * @throws ERR_ADDRESS, ERR_LISTEN, ERR_UNSUPPORTED, ERR_ENGINE_UNAVAILABLE, ERR_ABORTED when the
   * node is closed.
   */
  listen(address: Multiaddr | string): Promise<Multiaddr>;

  /**
   * Where this node can be dialled, each with `/p2p/<peer id>`. An unspecified host stands for every
   * interface of this machine, loopback last.
   */
  addresses(): Multiaddr[];

  /** Answers `protocol` from now on. Replaces the handler it had. */
  handle(protocol: string, handler: StreamHandler): void;

  /**
   * Connects to a peer, at whichever of its addresses answers first; see `race` in dial-race.ts. Names
   * are resolved. If one address ends in `/p2p/<peer id>`, only that peer is accepted.
   *
   * @throws ERR_ADDRESS when an address is malformed or two name different peers; what
   * `Transport.dial` throws if there was one address; else ERR_DIAL with all reasons; ERR_TIMEOUT;
   * ERR_ABORTED.
   */
  dial(
    address: Multiaddr | string | readonly (Multiaddr | string)[],
    options?: { readonly signal?: AbortSignal },
  ): Promise<Connection>;

  /**
   * Opens a stream for `protocol` without waiting for the peer's consent (`selectLazily`): its first
   * `read()` throws ERR_PROTOCOL_NOT_SUPPORTED if the peer refuses.
   *
   * @throws ERR_CONNECTION_CLOSED, ERR_ABORTED.
   */
  openStream(connection: Connection, protocol: string, signal?: AbortSignal): Promise<Stream>;

  /** Ends dials, connections and listeners and tells the peers. Idempotent; never rejects. */
  close(): Promise<void>;
}

const DIAL_TIMEOUT = 15_000;
/** Addresses that one dial takes, after names are resolved. */
const MAX_ADDRESSES = 32;
/** Milliseconds that a peer has to agree on a protocol for a stream it opened; go's, rust's value. */
const NEGOTIATION_TIMEOUT = 10_000;
/** Addresses in our identify message, which rust-libp2p takes up to 4 KiB of. */
const MAX_TOLD_ADDRESSES = 64;
/** Streams of one connection that may be without a protocol; more wait in the transport. */
const MAX_NEGOTIATIONS = 32;
/** What a peer may still send once a handler is done, in bytes and milliseconds. */
const MAX_LEFTOVER = 64 * 1024;
const LEFTOVER_TIMEOUT = 10_000;
/** Milliseconds that `close()` waits for transports to let go. */
const CLOSE_TIMEOUT = 2_000;
/** The protocol family that go-libp2p and js-libp2p name by default. */
const PROTOCOL_VERSION = 'ipfs/0.1.0';

/**
 * @throws ERR_CONFIG for a limit out of range; what `options.transports` throws; when none of
 * `options.prepare` could be made ready, the first one's error: ERR_ENGINE_UNAVAILABLE. Without that
 * list, an engine that is missing is an error of its use.
 */
export const createNode = async (options: NodeOptions = {}): Promise<LeanNode> => {
  const { dialTimeout = DIAL_TIMEOUT, agentVersion = AGENT_VERSION } = options;
  const log = options.log ?? (() => {});
  const hostKey = options.hostKey ?? generateHostKey();
  const peerId = peerIdOf(hostKey.publicKey);
  const handlers = new Map<string, StreamHandler>();
  const listeners: TransportListener[] = [];
  const connections = new Set<Connection>();
  const dialling = new Set<Promise<unknown>>();
  const closing = new AbortController();

  const transportFor = await makeTransports(options, hostKey, log);

  const addresses = (): Multiaddr[] =>
    listeners.flatMap(({ address }) => reachableAddresses(address));

  /** Serves a new connection until it ends. */
  const adopt = (connection: Connection): void => {
    const peer = connection.remotePeer.toString();
    const detail = { peer, address: String(connection.remoteAddress), via: connection.description };
    log(connection.direction === 'dialed' ? 'connected' : 'accepted', detail);
    connections.add(connection);
    connection.closed.then((reason) => {
      connections.delete(connection);
      log('disconnected', { ...detail, reason: describeClose(reason) });
    });
    acceptStreams(connection).catch((error) => {
      log('accepting streams failed', { ...detail, error: messageOf(error) });
      connection.close().catch(() => {});
    });
    if (closing.signal.aborted) connection.close().catch(() => {});
  };

  const acceptStreams = async (connection: Connection): Promise<void> => {
    const negotiations = new Set<Promise<void>>();
    for (;;) {
      const stream = await connection.acceptStream();
      if (stream === null) return;
      const negotiation = serve(stream, connection).finally(() => negotiations.delete(negotiation));
      negotiations.add(negotiation);
      if (negotiations.size >= MAX_NEGOTIATIONS) await Promise.race(negotiations);
    }
  };

  /** Resolves when the stream has a protocol, or none; its handler then runs on. Never rejects. */
  const serve = async (stream: Stream, connection: Connection): Promise<void> => {
    const detail = { peer: connection.remotePeer.toString(), stream: stream.id };
    try {
      const what = 'agreeing on a protocol';
      const agreed = negotiate(stream, handlers.keys());
      const reset = () => stream.reset();
      const protocol = await withDeadline(agreed, NEGOTIATION_TIMEOUT, what, reset);
      log('stream accepted', { ...detail, protocol });
      runHandler(stream, connection, protocol).catch((error) => {
        stream.reset();
        log('stream failed', { ...detail, protocol, error: messageOf(error) });
      });
    } catch (error) {
      log('stream refused', { ...detail, error: messageOf(error) });
    }
  };

  const runHandler = async (
    stream: Stream,
    connection: Connection,
    protocol: string,
  ): Promise<void> => {
    await handlers.get(protocol)?.(stream, connection);
    await endStream(stream);
  };

  const dialOne = async (
    address: Multiaddr,
    expectedPeer: PeerId | undefined,
    signal: AbortSignal,
  ): Promise<Connection> => {
    log('dialling', { address: address.toString() });
    try {
      const transport = await transportFor(address, 'dial');
      const connection = await transport.dial(withoutPeer(address), { expectedPeer, signal });
      const { remotePeer } = connection;
      if (expectedPeer === undefined || expectedPeer.equals(remotePeer)) return connection;
      await connection.close();
      throw new LeanError(
        'ERR_PEER_ID_MISMATCH',
        `expected peer ${expectedPeer}, found ${remotePeer}`,
      );
    } catch (error) {
      log('dial failed', { address: address.toString(), error: messageOf(error) });
      throw error;
    }
  };

  const dialAny = async (given: readonly Multiaddr[], signal: AbortSignal): Promise<Connection> => {
    onlyPeerOf(given); // before names are asked for
    const { found, failures } = await resolveAll(given);
    const expectedPeer = onlyPeerOf([...given, ...found]);
    if (found.length === 0) throw failureOf(failures);
    return race(found, {
      signal,
      dialOne: (address, raceSignal) => {
        const attempt = dialOne(address, expectedPeer, raceSignal);
        const settled = attempt.then(
          () => {},
          () => {},
        );
        dialling.add(settled);
        settled.finally(() => dialling.delete(settled));
        return attempt;
      },
    });
  };

  const node: LeanNode = {
    peerId,

    listen: async (address) => {
      const wanted = withoutPeer(parseMultiaddr(address));
      const transport = await transportFor(wanted, 'listen');
      if (closing.signal.aborted) throw closing.signal.reason;
      const listener = await transport.listen(wanted, {
        onConnection: adopt,
        onRefused: (error, remote) => log('refused', { remote, error: messageOf(error) }),
      });
      if (closing.signal.aborted) {
        await listener.close();
        throw closing.signal.reason;
      }
      listeners.push(listener);
      const bound = withPeer(listener.address, peerId);
      log('listening', { address: bound.toString() });
      return bound;
    },

    addresses: () => addresses().map((address) => withPeer(address, peerId)),

    handle: (protocol, handler) => {
      handlers.set(protocol, handler);
    },

    dial: async (address, { signal } = {}) => {
      const list = typeof address === 'string' || !isList(address) ? [address] : address;
      const given = list.map(parseMultiaddr);
      if (given.length === 0) throw new LeanError('ERR_ADDRESS', 'there is no address to dial');
      const deadline = startDeadline(dialTimeout, `dialling ${given.join(', ')}`, signal);
      const onClose = () => deadline.abort(closing.signal.reason);
      closing.signal.addEventListener('abort', onClose, { once: true });
      if (closing.signal.aborted) onClose();
      const dialled = dialAny(given, deadline.signal);
      try {
        const connection = await orAborted(dialled, deadline.signal);
        adopt(connection);
        return connection;
      } catch (error) {
        // It may have been won in the very moment of the abort.
        dialled.then((connection) => connection.close()).catch(() => {});
        throw deadline.signal.aborted ? deadline.signal.reason : error;
      } finally {
        closing.signal.removeEventListener('abort', onClose);
        deadline.clear();
      }
    },

    openStream: async (connection, protocol, signal) => {
      const stream = await connection.openStream(signal);
      try {
        return selectLazily(stream, protocol);
      } catch (error) {
        stream.reset();
        throw error;
      }
    },

    close: async () => {
      closing.abort(new LeanError('ERR_ABORTED', 'the node is closed'));
      const closed = Promise.all([
        ...[...connections].map((connection) => connection.close()),
        ...listeners.map((listener) => listener.close()),
        ...dialling,
      ]);
      await withDeadline(closed, CLOSE_TIMEOUT, 'closing the node').catch((error) =>
        log('closing failed', { error: messageOf(error) }),
      );
    },
  };

  node.handle(PING, (stream) => handlePing(stream));
  node.handle(IDENTIFY, (stream, connection) =>
    handleIdentify(stream, {
      publicKey: hostKey.publicKey.protobuf,
      listenAddrs: addresses().slice(0, MAX_TOLD_ADDRESSES),
      observedAddr: connection.remoteAddress,
      protocols: [...handlers.keys()],
      agentVersion,
      protocolVersion: PROTOCOL_VERSION,
    }),
  );
  return node;
};

type TransportFor = (address: Multiaddr, role: 'dial' | 'listen') => Promise<Transport>;

/** Finds the transport of an address; built-in ones are imported and made when they are needed. */
const makeTransports = async (
  options: NodeOptions,
  hostKey: HostKey,
  log: NonNullable<NodeOptions['log']>,
): Promise<TransportFor> => {
  const tls = once(async () => issueCertificate(hostKey));
  const limits = nodeLimitsOf(options.limits);
  const localPeer = peerIdOf(hostKey.publicKey);
  const context: TransportContext = { hostKey, localPeer, tls, limits };
  const given = (await options.transports?.(context)) ?? [];

  const quicByRole = (role: 'dial' | 'listen') => async (): Promise<Transport> => {
    const [{ quicTransport }, { engine, why }, identity] = await Promise.all([
      import('../transports/quic.ts'),
      selectEngine(options.quicEngine ?? 'auto', role),
      tls(),
    ]);
    log('QUIC engine', { engine: engine.name, role, why });
    return quicTransport({ engine, hostKey, tls: identity, limits });
  };
  const quic = { dial: once(quicByRole('dial')), listen: once(quicByRole('listen')) };
  const upgrade = once(async () => ({
    hostKey,
    tls: await tls(),
    secure: ['noise', 'tls'] as const,
    muxers: ['yamux', 'mplex'] as const,
    limits,
  }));
  const tcp = once(async () => {
    const [{ tcpTransport }, parts] = await Promise.all([
      import('../transports/tcp.ts'),
      upgrade(),
    ]);
    return tcpTransport(parts);
  });
  const ws = once(async () => {
    const [{ wsTransport }, parts] = await Promise.all([
      import('../transports/websocket.ts'),
      upgrade(),
    ]);
    return wsTransport({ ...parts, insecureWss: options.insecureWss === true });
  });
  const builtIn: Record<AddressKind, (role: 'dial' | 'listen') => Promise<Transport>> = {
    'quic-v1': (role) => quic[role](),
    tcp,
    ws,
    wss: ws,
  };

  const prepare = options.prepare ?? (options.transports === undefined ? ['quic-v1'] : []);
  const prepared = await Promise.allSettled(prepare.map((kind) => builtIn[kind]('dial')));
  const [first] = prepared;
  const useless = prepared.every(({ status }) => status === 'rejected');
  if (options.prepare !== undefined && useless && first?.status === 'rejected') throw first.reason;

  return async (address, role) => {
    const ours = given.find((transport) => transport.handles(address));
    if (ours !== undefined) return ours;
    const kind = kindOf(address);
    if (kind === undefined) {
      throw new LeanError('ERR_UNSUPPORTED', `address ${address}: no transport for it here`);
    }
    return builtIn[kind](role);
  };
};

/** `make`'s result, made at the first call; a failure is not kept. */
const once = <T>(make: () => Promise<T>): (() => Promise<T>) => {
  let made: Promise<T> | undefined;
  return () => {
    if (made !== undefined) return made;
    made = make();
    made.catch(() => {
      made = undefined;
    });
    return made;
  };
};

/** The peer that `addresses` name, if any does. @throws ERR_ADDRESS, ERR_PEER_ID_MALFORMED. */
const onlyPeerOf = (addresses: readonly Multiaddr[]): PeerId | undefined => {
  const [peer, ...rest] = addresses.map(peerOf).filter((it) => it !== undefined);
  const other = peer === undefined ? undefined : rest.find((it) => !it.equals(peer));
  if (other === undefined) return peer;
  throw new LeanError('ERR_ADDRESS', `the addresses name different peers, ${peer} and ${other}`);
};

/** All addresses with their names resolved; what could not be resolved is a failure. */
const resolveAll = async (
  given: readonly Multiaddr[],
): Promise<{ found: Multiaddr[]; failures: Failure[] }> => {
  const failures: Failure[] = [];
  const lists = await Promise.all(
    given.map((address) =>
      resolveMultiaddr(address).catch((error) => {
        failures.push({ address, error });
        return [];
      }),
    ),
  );
  return { found: lists.flat().slice(0, MAX_ADDRESSES), failures };
};

/** Closes our side, and reads what is left so that the peer's side can end in peace. */
const endStream = async (stream: Stream): Promise<void> => {
  stream.closeWrite();
  const stop = () => stream.stopSending();
  const discard = async (): Promise<void> => {
    for (let bytes = 0; bytes <= MAX_LEFTOVER; ) {
      const chunk = await stream.read();
      if (chunk === null) return;
      bytes += chunk.length;
    }
    stop();
  };
  // A peer that resets now, or never ends, has had its answer.
  await withDeadline(discard(), LEFTOVER_TIMEOUT, 'the end of the stream', stop).catch(() => {});
};

const isList = (
  value: Multiaddr | string | readonly (Multiaddr | string)[],
): value is readonly (Multiaddr | string)[] => Array.isArray(value);
