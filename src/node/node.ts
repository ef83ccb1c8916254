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
import { checkRuntime } from '../runtime.ts';
import { circuit, quic, tcp, websocket } from '../transports/factories.ts';
import type { TransportContext, TransportFactory } from '../transports/transport.ts';
import { AGENT_VERSION } from '../version.ts';
import { createConnections } from './connections.ts';
import { createDialing, type DialOptions } from './dialing.ts';
import { createEvents, type NodeEventTarget } from './events.ts';
import { createIdentifying } from './identifying.ts';
import { checkLimits, DEFAULT_NODE_LIMITS, type NodeLimits, transportLimitsOf } from './limits.ts';
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
  /** The key that identifies the node; default: a new one. */
  readonly hostKey?: HostKey;
  /** Default: `[quic(), tcp(), websocket()]`. For an address, the first one that handles it is used. */
  readonly transports?: readonly TransportFactory[];
  /** Limits on what peers may use; those not given have their defaults. */
  readonly limits?: Partial<NodeLimits>;
  /** How long a whole dial may take, from resolving names to the upgrade; milliseconds, default 15,000. */
  readonly dialTimeout?: number;
  /**
   * Makes the node a relay (circuit relay v2); `true`: with the default limits. Default: false. Listening and
   * dialling through other relays needs no option, only their addresses.
   */
  readonly relay?: boolean | Partial<RelayLimits>;
  /** NAT traversal; by default, hole punching for relayed connections. */
  readonly nat?: NatOptions;
  /** The agent version in identify; default `libp2p-lean/<version>`. */
  readonly agentVersion?: string;
  /** Where the node's counters and histograms are registered; default: no metrics. */
  readonly metrics?: MetricsRegistry;
}

/** Disposing of it closes it. */
export interface LeanNode extends NodeEventTarget, AsyncDisposable {
  readonly peerId: PeerId;

  /**
   * Listens on one address; port 0 means any free port.
   *
   * @throws ERR_ADDRESS, ERR_LISTEN, ERR_UNSUPPORTED, ERR_ENGINE_UNAVAILABLE; ERR_ABORTED when `signal`
   * aborts or the node is closed.
   */
  listen(
    address: Multiaddr | string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Listener>;

  /**
   * The addresses at which this node can be dialled, each with `/p2p/<peer id>`: ports that a router forwards,
   * addresses observed by peers of several networks, then those it listens on. An unspecified host is replaced by
   * the address of every interface of this machine, loopback last.
   */
  addresses(): Multiaddr[];

  /**
   * Connects to a peer by the address that answers first: QUIC addresses have a head start of 250 ms. Names are
   * resolved. If an address ends in `/p2p/<peer id>`, only that peer is accepted; an open connection to it, inbound
   * or outbound, is reused, and a dial to it that is under way is shared. `force: true` makes a new connection.
   *
   * @throws ERR_ADDRESS when an address is malformed or two name different peers; what `Transport.dial` throws if
   * there was one address; else the code that all addresses failed with, or ERR_DIAL, with all reasons in the message;
   * ERR_TIMEOUT; ERR_ABORTED.
   */
  dial(
    address: Multiaddr | string | readonly (Multiaddr | string)[],
    options?: DialOptions,
  ): Promise<Connection>;

  /** The open connections, the oldest first: all, or those with `peer`. @throws ERR_PEER_ID_MALFORMED. */
  connections(peer?: PeerId | string): Connection[];

  /** The reachability of this node's addresses, by AutoNAT v2; `unknown` unless {@link NatOptions.reachability} is set. */
  readonly reachability: Reachability;

  /** Answers `protocol` from now on. Replaces its previous handler and options. @throws ERR_OPTIONS. */
  handle(protocol: string, handler: StreamHandler, options?: HandleOptions): void;

  /** Refuses `protocol` from now on; open streams go on. */
  unhandle(protocol: string): void;

  /**
   * Loads the transports for `addresses`, or all of them, ahead of time, so that later dials (or, with the `role`
   * `listener`, listeners) need not wait for that.
   *
   * @throws ERR_ENGINE_UNAVAILABLE when none of them could be loaded.
   */
  prepare(options?: {
    readonly role?: Role;
    readonly addresses?: readonly (Multiaddr | string)[];
  }): Promise<void>;

  /** Ends dials, connections and listeners, and notifies the peers. Idempotent; never rejects. */
  close(): Promise<void>;
}

const DIAL_TIMEOUT = 15_000;
const UNKNOWN: Reachability = { status: 'unknown', addresses: [] };
/** How long `close()` waits for transports; milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/**
 * Makes a node. It loads no transport or QUIC engine: that happens on first use, or by `prepare()`.
 *
 * @throws ERR_OPTIONS for a limit out of range; ERR_UNSUPPORTED on a Node.js that is too old; what the factories
 * of transports throw.
 */
export const createNode = async (options: NodeOptions = {}): Promise<LeanNode> => {
  checkRuntime();
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
    // Peers on rust-libp2p do not ask for a reservation before the relay has identified them.
    const isClient = relay && connection.role === 'listener';
    const seesUs = options.nat !== undefined && connection.role === 'dialer';
    if (connection.circuit === undefined && (isClient || seesUs)) identifying.ask(connection);
  };
  const connections = createConnections(nodeLimits, events, protocols, onOpen, metrics);
  const context: TransportContext = {
    hostKey,
    localPeer: peerId,
    tls: once(async () => (await import('../tls/issue.ts')).issueCertificate(hostKey)),
    limits: transportLimitsOf(limits),
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
  /** Where this node can be dialled. @param guesses includes addresses that too few peers have observed. */
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
    createDialer: () =>
      createNode({ transports: factories, agentVersion, limits, nat: { holePunching: false } }),
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
    // Sockets that are not closed in time end by themselves.
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
