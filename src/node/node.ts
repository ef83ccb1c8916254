/**
 * A libp2p node: an identity, transports to dial and listen with, and handlers for the protocols
 * that peers may open. It answers ping and identify.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection, Role } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { generateHostKey, type HostKey } from '../identity/keys.ts';
import { type PeerId, parsePeerId, peerIdOf } from '../identity/peer-id.ts';
import { parseMultiaddr, withPeer } from '../multiaddr.ts';
import { once } from '../once.ts';
import { createPendingPool } from '../pending-pool.ts';
import { handlePing, PING } from '../protocols/ping.ts';
import { circuit, quic, tcp, websocket } from '../transports/factories.ts';
import type { TransportContext, TransportFactory } from '../transports/transport.ts';
import { AGENT_VERSION } from '../version.ts';
import { createConnections } from './connections.ts';
import { createDialing, type DialOptions } from './dialing.ts';
import { createEvents, type NodeEventTarget } from './events.ts';
import { createIdentifying } from './identifying.ts';
import { checkLimits, DEFAULT_NODE_LIMITS, type NodeLimits } from './limits.ts';
import type { Listener } from './listener.ts';
import { createListening } from './listening.ts';
import { createMetrics, type MetricsRegistry } from './metrics.ts';
import { createNat, type Nat, type NatOptions } from './nat.ts';
import { createObservedAddresses } from './observed-addresses.ts';
import { createProtocols, type HandleOptions, type StreamHandler } from './protocols.ts';
import type { Reachability } from './reachability-status.ts';
import { createRelayClient } from './relay-client.ts';
import { type RelayLimits, relayLimitsOf } from './relay-limits.ts';
import { createTransports } from './transports.ts';

export interface NodeOptions {
  /** Who this node is; default: a new one. */
  readonly hostKey?: HostKey;
  /** Default: `[quic(), tcp(), websocket()]`. The first one that handles an address is used. */
  readonly transports?: readonly TransportFactory[];
  /** What peers may cost; those that are not given have their defaults. */
  readonly limits?: Partial<NodeLimits>;
  /** Milliseconds that a dial may take in all: names, every address, the upgrade. Default 15,000. */
  readonly dialTimeout?: number;
  /**
   * Serves as a relay (circuit relay v2) to peers that ask for it; `true`: with the default limits. Default:
   * false. Listening and dialling through other relays takes no option, but their addresses.
   */
  readonly relay?: boolean | Partial<RelayLimits>;
  /** What it does about NATs; by default it punches holes for relayed connections. */
  readonly nat?: NatOptions;
  /** What identify says; default `libp2p-lean/<version>`. */
  readonly agentVersion?: string;
  /** Where the node's counters and histograms are registered, once; default: nothing is counted. */
  readonly metrics?: MetricsRegistry;
}

/** Disposing of it closes it. */
export interface LeanNode extends NodeEventTarget, AsyncDisposable {
  readonly peerId: PeerId;

  /**
   * Listens on one address, on any free port for port 0.
   *
   * @throws ERR_ADDRESS, ERR_LISTEN, ERR_UNSUPPORTED, ERR_ENGINE_UNAVAILABLE; ERR_ABORTED when `signal`
   * fires or the node is closed.
   */
  listen(
    address: Multiaddr | string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Listener>;

  /**
   * Where this node can be dialled, each with `/p2p/<peer id>`: ports that a router forwards, addresses that peers
   * of several networks have seen, then where it listens. An unspecified host stands for every interface of this
   * machine, loopback last.
   */
  addresses(): Multiaddr[];

  /**
   * Connects to a peer, at whichever of its addresses answers first; see `race` in dial-race.ts. Names
   * are resolved. If one address ends in `/p2p/<peer id>`, only that peer is accepted, an open connection
   * to it is used if there is one, whoever made it, and a dial to it that is under way is waited for;
   * `force: true` makes a connection of its own.
   *
   * @throws ERR_ADDRESS when an address is malformed or two name different peers; what
   * `Transport.dial` throws if there was one address; else ERR_DIAL with all reasons; ERR_TIMEOUT;
   * ERR_ABORTED.
   */
  dial(
    address: Multiaddr | string | readonly (Multiaddr | string)[],
    options?: DialOptions,
  ): Promise<Connection>;

  /** The connections that are open, the oldest first: all, or those to `peer`. @throws ERR_PEER_ID_MALFORMED. */
  connections(peer?: PeerId | string): Connection[];

  /** What AutoNAT v2 servers say of this node's addresses; `unknown` unless {@link NatOptions.reachability} is set. */
  readonly reachability: Reachability;

  /** Answers `protocol` from now on. Replaces the handler it had, and its options. @throws ERR_OPTIONS. */
  handle(protocol: string, handler: StreamHandler, options?: HandleOptions): void;

  /** Refuses `protocol` from now on; streams that are open go on. */
  unhandle(protocol: string): void;

  /**
   * Loads what dialling `addresses` takes (or listening on them), so that this is no part of the dial;
   * without addresses: all transports.
   *
   * @throws when no transport could be loaded: ERR_ENGINE_UNAVAILABLE.
   */
  prepare(options?: {
    readonly role?: Role;
    readonly addresses?: readonly (Multiaddr | string)[];
  }): Promise<void>;

  /** Ends dials, connections and listeners and tells the peers. Idempotent; never rejects. */
  close(): Promise<void>;
}

const DIAL_TIMEOUT = 15_000;
const UNKNOWN: Reachability = { status: 'unknown', addresses: [] };
/** Milliseconds that `close()` waits for transports to let go. */
const CLOSE_TIMEOUT = 2_000;

/**
 * Loads neither engines nor libraries of transports: that is for the first use, or `prepare()`.
 *
 * @throws ERR_OPTIONS for a limit out of range; what the factories of transports throw.
 */
export const createNode = async (options: NodeOptions = {}): Promise<LeanNode> => {
  const { dialTimeout = DIAL_TIMEOUT, agentVersion = AGENT_VERSION, relay = false } = options;
  const limits = checkLimits(options.limits);
  const nodeLimits = { ...DEFAULT_NODE_LIMITS, ...limits };
  const relayLimits = relayLimitsOf(typeof relay === 'object' ? relay : {});
  const hostKey = options.hostKey ?? generateHostKey();
  const peerId = peerIdOf(hostKey.publicKey);
  const closing = new AbortController();
  const { signal } = closing;
  const events = createEvents();
  const metrics = options.metrics && createMetrics(options.metrics, events);
  const protocols = createProtocols(events, metrics?.inbound);
  const onOpen = (connection: Connection): void => {
    nat?.punching?.opened(connection);
    // Peers on rust-libp2p wait until a relay has asked them who they are.
    const isClient = relay && connection.role === 'listener';
    const seesUs = options.nat !== undefined && connection.role === 'dialer';
    if (connection.circuit === undefined && (isClient || seesUs)) identifying.ask(connection);
  };
  const connections = createConnections(nodeLimits, events, protocols, onOpen, metrics);
  const context: TransportContext = {
    hostKey,
    localPeer: peerId,
    tls: once(async () => (await import('../tls/issue.ts')).issueCertificate(hostKey)),
    limits,
    emit: events.emit as TransportContext['emit'],
  };
  const relays = createRelayClient(
    () => dialing,
    protocols,
    events,
    signal,
    (connection) => identifying.ask(connection),
  );
  const factories = options.transports ?? [quic(), tcp(), websocket()];
  const transports = await createTransports(factories, context, [circuit(context, relays)]);
  const dialing = createDialing(transports, connections, events, dialTimeout, signal);
  const pendingPool = createPendingPool(nodeLimits.maxPending);
  const listening = createListening(peerId, transports, connections, events, pendingPool, signal);
  const observed = createObservedAddresses(listening.bound);
  let nat: Nat | undefined;
  /** Where this node can be dialled, as far as it knows; with `guesses`, where perhaps. */
  const ownAddresses = (guesses = false): Multiaddr[] => {
    const mapped = nat?.mappings?.addresses() ?? [];
    const seen = guesses ? observed.candidates() : observed.confirmed();
    const all = [...mapped, ...seen, ...listening.addresses()];
    return [...new Map(all.map((address) => [address.toString(), address])).values()];
  };

  protocols.handle(PING, (stream) => handlePing(stream));
  const identifying = createIdentifying({
    publicKey: hostKey.publicKey,
    agentVersion,
    addresses: () => ownAddresses(),
    observed,
    protocols,
    connections,
    events,
    closing: signal,
  });
  nat = await createNat(options.nat ?? {}, {
    protocols,
    connections,
    dialing,
    transports,
    events,
    candidates: () => ownAddresses(true),
    bound: listening.bound,
    createDialer: () => createNode({ transports: factories, agentVersion }),
    closing: signal,
  });
  if (relay) {
    const { serveRelay } = await import('./relay-server.ts');
    serveRelay(protocols, {
      hostKey,
      limits: relayLimits,
      addresses: () => ownAddresses(),
      connections: connections.list,
      events,
    });
  }

  const close = async (): Promise<void> => {
    closing.abort(new LeanError('ERR_ABORTED', 'the node is closed'));
    const closed = Promise.all([connections.close(), listening.close(), dialing.settled()]);
    // Sockets that are not let go of in time end by themselves.
    await withDeadline(closed, CLOSE_TIMEOUT, 'closing the node').catch(() => {});
  };

  const node = Object.assign(events.target, {
    peerId,
    listen: listening.listen,
    addresses: () => ownAddresses().map((address) => withPeer(address, peerId)),
    dial: dialing.dial,
    connections: (peer?: PeerId | string) =>
      connections.list(typeof peer === 'string' ? parsePeerId(peer) : peer),
    handle: (protocol: string, handler: StreamHandler, handling?: HandleOptions) => {
      protocols.handle(protocol, handler, handling);
      identifying.changed();
    },
    unhandle: (protocol: string) => {
      protocols.unhandle(protocol);
      identifying.changed();
    },
    prepare: ({ role = 'dialer', addresses }: Parameters<LeanNode['prepare']>[0] = {}) =>
      transports.prepare(role, addresses?.map(parseMultiaddr)),
    close,
    [Symbol.asyncDispose]: close,
  });
  const reachability = { get: () => nat?.reachability?.current() ?? UNKNOWN };
  return Object.defineProperty(node, 'reachability', reachability) as typeof node & {
    readonly reachability: Reachability;
  };
};
