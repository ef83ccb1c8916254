/**
 * Upgrades relayed connections to direct ones (libp2p/specs relay/DCUtR.md). The peer that accepted a relayed
 * connection first dials the other one, then initiates a hole punch.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { pause } from '../deadline.ts';
import { errorOf, isLeanError, LeanError } from '../errors.ts';
import { type IpScope, scopeOf } from '../ip-scope.ts';
import { ipOf } from '../multiaddr.ts';
import { handleDcutr, initiateDcutr } from '../protocols/dcutr.ts';
import { identify } from '../protocols/identify.ts';
import type { Connections } from './connections.ts';
import type { Dialing } from './dialing.ts';
import { directAddresses, punchedHostOf, punchTargets } from './direct-addresses.ts';
import { createDirectConnections } from './direct-connections.ts';
import type { Events } from './events.ts';
import { createHolePunch } from './hole-punch.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';
import { createMinuteCount } from './minute-count.ts';
import type { StreamHandler } from './protocols.ts';
import { createReplacedConnections } from './replaced-connections.ts';
import type { Transports } from './transports.ts';

/** Attempts for one relayed connection (libp2p/specs relay/DCUtR.md), both as the initiator and as the other side. */
const MAX_ATTEMPTS = 3;
/** The attempt in which the initiator is the dialer, for go-libp2p before v0.41, which has the roles reversed. */
const SWAPPED_ATTEMPT = 2;
/** How long dialling the peer's addresses may take before the hole punch begins; milliseconds. */
const HEAD_START = 500;

export interface HolePunching {
  /** Answers DCUtR. */
  readonly handle: StreamHandler;
  /** A connection is open. */
  opened(connection: Connection): void;
}

export interface HolePunchingOptions {
  readonly connections: Connections;
  readonly dialing: Dialing;
  readonly transports: Transports;
  readonly events: Events;
  /** Where this node may be reached, the best first. */
  readonly addresses: () => readonly Multiaddr[];
  readonly limits: HolePunchLimits;
  /** Fires when the node closes. */
  readonly closing: AbortSignal;
}

export const createHolePunching = ({
  connections,
  dialing,
  transports,
  events,
  addresses,
  limits,
  closing,
}: HolePunchingOptions): HolePunching => {
  /** The peer ids of hole punches that we initiate. */
  const running = new Set<string>();
  /** Those that were begun, by peer id, and how often each host was dialled. */
  const [begun, dialledHosts] = [createMinuteCount(), createMinuteCount()];
  const agreements = new WeakMap<Connection, number>();
  const direct = createDirectConnections(connections);
  const punch = createHolePunch({ dialing, transports, direct, limits });
  const replaced = createReplacedConnections(direct, events);

  /** The scope of the addresses that can be dialled between us and a peer at that relay. */
  const scopeOfRelay = ({ circuit }: Connection): IpScope => {
    const relay = circuit === undefined ? undefined : direct.to(circuit.relay);
    return scopeOf((relay && ipOf(relay.remoteAddress)) ?? '') ?? 'public';
  };

  /** Those of the peer's addresses that are dialled now: their hosts are counted. */
  const dialable = (said: readonly Multiaddr[], relayed: Connection): Multiaddr[] => {
    const own = new Set(addresses().map(String));
    const named = directAddresses(said, scopeOfRelay(relayed), relayed.remotePeer);
    const usable = named.filter((it) => !own.has(it.toString()) && transports.has(it));
    const list = punchTargets(usable, limits).map(({ address }) => address);
    const hosts = new Set(list.map(punchedHostOf));
    for (const host of hosts) {
      if (dialledHosts.of(host) < limits.attemptsPerMinutePerHost) dialledHosts.add(host);
      else hosts.delete(host);
    }
    return list.filter((address) => hosts.has(punchedHostOf(address)));
  };

  /** Whether a hole punch with `id` may begin; it is counted then. */
  const mayBegin = (id: string): boolean => {
    if (running.has(id) || running.size >= limits.maxPunches) return false;
    if (begun.total() >= limits.punchesPerMinute) return false;
    if (begun.of(id) >= limits.punchesPerMinutePerPeer) return false;
    begun.add(id);
    return true;
  };

  /** Dials the addresses that the peer's identify message lists: some peers are not behind a NAT. */
  const dialDirectly = async (relayed: Connection, signal: AbortSignal): Promise<void> => {
    const { listenAddrs } = await identify(relayed, { signal });
    const list = dialable(listenAddrs, relayed);
    if (list.length > 0) await dialing.direct(list, relayed.remotePeer, signal);
  };

  const initiate = async (relayed: Connection): Promise<void> => {
    const peer = relayed.remotePeer;
    const stop = new AbortController();
    const end = (): void =>
      stop.abort(new LeanError('ERR_CONNECTION_CLOSED', 'the relayed connection has ended'));
    relayed.closed.then(end);
    const onClose = (): void => stop.abort(closing.reason);
    closing.addEventListener('abort', onClose, { once: true });
    const { signal } = stop;
    const found = direct.until(peer, signal);
    found.catch(() => {});
    try {
      const dialled = dialDirectly(relayed, signal).catch(() => {});
      const headStart = pause(HEAD_START, signal);
      const ready = async (): Promise<boolean> => {
        await Promise.race([found, dialled, headStart]);
        return direct.to(peer) === undefined;
      };
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        if (direct.to(peer) !== undefined || signal.aborted) return;
        const own = directAddresses(addresses(), scopeOfRelay(relayed));
        if (own.length === 0) throw new LeanError('ERR_DIAL', 'no address of ours is known');
        const agreement = await initiateDcutr(relayed, own, { signal, ready });
        if (agreement === undefined) return;
        const list = dialable(agreement.addresses, relayed);
        events.emit('punch:start', { peer, attempt, role: 'listener', addresses: list });
        if (list.length === 0)
          throw new LeanError(
            'ERR_DIAL',
            'none of the addresses that the peer sent may be dialled',
          );
        await Promise.race([found, pause(agreement.rtt / 2, signal)]);
        const role = attempt === SWAPPED_ATTEMPT ? 'dialer' : 'listener';
        try {
          await punch({ peer, addresses: list, role, rtt: agreement.rtt }, signal);
          return;
        } catch (error) {
          if (signal.aborted || !isLeanError(error, 'ERR_TIMEOUT')) throw error;
          events.emit('punch:error', { peer, attempt, error });
        }
      }
    } catch (error) {
      if (!signal.aborted) events.emit('punch:error', { peer, attempt: 0, error: errorOf(error) });
    } finally {
      closing.removeEventListener('abort', onClose);
      end();
    }
  };

  /** Dials `list`; `rtt` of the relayed connection, milliseconds. */
  const answer = async (
    relayed: Connection,
    list: readonly Multiaddr[],
    rtt: number,
  ): Promise<void> => {
    const peer = relayed.remotePeer;
    const attempt = agreements.get(relayed) ?? 0;
    events.emit('punch:start', { peer, attempt, role: 'dialer', addresses: list });
    if (list.length === 0) return;
    try {
      await punch({ peer, addresses: list, role: 'dialer', rtt }, closing);
    } catch (error) {
      events.emit('punch:error', { peer, attempt, error: errorOf(error) });
    }
  };

  return {
    handle: async (stream, connection) => {
      const asked = agreements.get(connection) ?? 0;
      // Only the peer that accepted our relayed connection initiates, a limited number of times.
      if (connection.circuit === undefined || connection.role !== 'dialer') {
        throw new LeanError(
          'ERR_PROTOCOL_VIOLATION',
          'dcutr: the peer must not initiate on this connection',
        );
      }
      if (asked >= MAX_ATTEMPTS) {
        throw new LeanError(
          'ERR_PROTOCOL_VIOLATION',
          `dcutr: the peer made more than ${MAX_ATTEMPTS} attempts`,
        );
      }
      agreements.set(connection, asked + 1);
      const own = directAddresses(addresses(), scopeOfRelay(connection));
      if (own.length === 0) throw new LeanError('ERR_DIAL', 'no address of ours is known');
      let list: readonly Multiaddr[] = [];
      const { rtt } = await handleDcutr(stream, own, (said) => {
        list = dialable(said, connection);
      });
      if (direct.to(connection.remotePeer) === undefined) {
        answer(connection, list, rtt).catch(() => {});
      }
    },

    opened: (connection) => {
      const { remotePeer: peer, circuit, role } = connection;
      const id = peer.toString();
      if (circuit === undefined) {
        direct.opened(connection);
        const relayed = connections.list(peer).filter((it) => it.circuit !== undefined);
        for (const old of relayed) replaced.replace(old, connection);
        return;
      }
      replaced.opened(connection);
      const there = direct.to(peer);
      if (there !== undefined) replaced.replace(connection, there);
      else if (role === 'listener' && mayBegin(id)) {
        running.add(id);
        initiate(connection).finally(() => running.delete(id));
      }
    },
  };
};
