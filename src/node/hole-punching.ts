/**
 * Upgrades relayed connections to direct ones (libp2p/specs relay/DCUtR.md). The peer that accepted a relayed
 * connection first dials the other one, then initiates a hole punch: both dial at the same moment, so that each NAT
 * takes the packets from the other side for replies. A relayed connection that was replaced is closed when its streams
 * have ended.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection, Role } from '../connection.ts';
import { pause, startDeadline } from '../deadline.ts';
import { errorOf, isLeanError, LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { type IpScope, scopeOf } from '../ip-scope.ts';
import { ipOf, kindOf } from '../multiaddr.ts';
import { handleDcutr, initiateDcutr } from '../protocols/dcutr.ts';
import { identify } from '../protocols/identify.ts';
import type { Connections } from './connections.ts';
import type { Dialing } from './dialing.ts';
import {
  directAddresses,
  type PunchTarget,
  punchedHostOf,
  punchTargets,
} from './direct-addresses.ts';
import type { Events } from './events.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';
import { createMinuteCount } from './minute-count.ts';
import type { StreamHandler } from './protocols.ts';
import type { Transports } from './transports.ts';

/** Attempts for one relayed connection (libp2p/specs relay/DCUtR.md), both as the initiator and as the other side. */
const MAX_ATTEMPTS = 3;
/** The attempt in which the initiator is the dialer, for go-libp2p before v0.41, which has the roles reversed. */
const SWAPPED_ATTEMPT = 2;
/** How long one attempt may take; milliseconds, go-libp2p's value, and rust-libp2p's for QUIC. */
const ATTEMPT_TIMEOUT = 5_000;
/** How long dialling the peer's addresses may take before the hole punch begins; milliseconds. */
const HEAD_START = 500;
/**
 * When an address is dialled again in an attempt, as the first packets may arrive before the hole is open: after
 * `first` milliseconds, which grow by `factor` with each dial. Over QUIC the dials overlap, and each retransmits its
 * packets; over TCP one begins when the previous one has failed.
 */
const QUIC_REDIAL = { first: 200, factor: 2 };
const TCP_REDIAL = { first: 25, factor: 3 };
/** A replaced connection is closed when it has had no stream for this time; milliseconds. */
const RETIRE_AFTER = 2_000;
/** How often that is checked; milliseconds. */
const RETIRE_CHECK = 500;

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
  /** Those that wait for a direct connection, by peer id. */
  const waiting = new Map<string, Set<(direct: Connection) => void>>();

  const directTo = (peer: PeerId): Connection | undefined =>
    connections.list(peer).find(({ circuit }) => circuit === undefined);

  /** The scope of the addresses that can be dialled between us and a peer at that relay. */
  const scopeOfRelay = ({ circuit }: Connection): IpScope => {
    const relay = circuit === undefined ? undefined : directTo(circuit.relay);
    return scopeOf((relay && ipOf(relay.remoteAddress)) ?? '') ?? 'public';
  };

  /** Resolves when there is a direct connection to `peer`; ends with `signal`. */
  const untilDirect = (peer: PeerId, signal: AbortSignal): Promise<Connection> =>
    new Promise((resolve, reject) => {
      const there = directTo(peer);
      if (there !== undefined) return resolve(there);
      const id = peer.toString();
      const group = waiting.get(id) ?? new Set();
      const settle = (): void => {
        signal.removeEventListener('abort', onAbort);
        group.delete(found);
        if (group.size === 0 && waiting.get(id) === group) waiting.delete(id);
      };
      const found = (direct: Connection): void => {
        settle();
        resolve(direct);
      };
      const onAbort = (): void => {
        settle();
        reject(signal.reason);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) return onAbort();
      waiting.set(id, group.add(found));
    });

  /** Dials over QUIC until `signal` aborts, without waiting for dials that were too early. Never rejects. */
  const dialQuic = async (
    { address, dials }: PunchTarget,
    peer: PeerId,
    signal: AbortSignal,
    after = 0,
  ): Promise<void> => {
    if (after > 0) await pause(after, signal);
    let wait = QUIC_REDIAL.first;
    for (let left = dials; left > 0 && !signal.aborted; left--) {
      dialing.punch(address, peer, { signal, holePunch: 'dialer' }).catch(() => {});
      await pause(wait, signal);
      wait *= QUIC_REDIAL.factor;
    }
  };

  /** The same over TCP, one dial at a time: there can be only one connection between two ports. */
  const dialTcp = async (
    { address, dials }: PunchTarget,
    peer: PeerId,
    holePunch: Role,
    signal: AbortSignal,
  ): Promise<void> => {
    let wait = TCP_REDIAL.first;
    for (let left = dials; left > 0 && !signal.aborted; left--) {
      await dialing.punch(address, peer, { signal, holePunch }).catch(() => {});
      await pause(wait, signal);
      wait *= TCP_REDIAL.factor;
    }
  };

  /**
   * One attempt.
   *
   * @param rtt of the relayed connection, milliseconds.
   * @throws the reason of `parent`; ERR_TIMEOUT.
   */
  const punch = async (
    list: readonly Multiaddr[],
    peer: PeerId,
    role: Role,
    rtt: number,
    parent: AbortSignal,
  ): Promise<Connection> => {
    const deadline = startDeadline(ATTEMPT_TIMEOUT, 'punching a hole', parent);
    const { signal } = deadline;
    try {
      const direct = untilDirect(peer, signal);
      const targets = punchTargets(list, limits);
      const overQuic = targets.filter(({ address }) => kindOf(address) === 'quic-v1');
      for (const target of targets) {
        if (!overQuic.includes(target)) dialTcp(target, peer, role, signal);
        else if (role === 'dialer') dialQuic(target, peer, signal);
        else {
          const host = punchedHostOf(target.address);
          const sharing = overQuic.filter(({ address }) => punchedHostOf(address) === host).length;
          transports.punch(target.address, sharing, signal);
          // If our NAT is symmetric, only we can reach the peer. Delayed, as the peer's own dial mostly gets
          // through before.
          dialQuic(target, peer, signal, rtt);
        }
      }
      return await direct;
    } finally {
      deadline.abort(new LeanError('ERR_ABORTED', 'the hole punch is over'));
      deadline.clear();
    }
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
    const found = untilDirect(peer, signal);
    found.catch(() => {});
    try {
      const dialled = dialDirectly(relayed, signal).catch(() => {});
      const headStart = pause(HEAD_START, signal);
      const ready = async (): Promise<boolean> => {
        await Promise.race([found, dialled, headStart]);
        return directTo(peer) === undefined;
      };
      for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
        if (directTo(peer) !== undefined || signal.aborted) return;
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
          await punch(list, peer, role, agreement.rtt, signal);
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

  /** Dials `list`; `rtt` as of `punch`. */
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
      await punch(list, peer, 'dialer', rtt, closing);
    } catch (error) {
      events.emit('punch:error', { peer, attempt, error: errorOf(error) });
    }
  };

  /** Closes `relayed` once it has been without streams for a while. */
  const retire = (relayed: Connection): void => {
    let idleSince = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      if (directTo(relayed.remotePeer) === undefined || relayed.memory.streams > 0) idleSince = now;
      else if (now - idleSince >= RETIRE_AFTER) relayed.close();
    }, RETIRE_CHECK);
    timer.unref();
    relayed.closed.then(() => clearInterval(timer));
  };

  const replaced = new WeakSet<Connection>();
  const openedAt = new WeakMap<Connection, number>();
  const replace = (relayed: Connection, direct: Connection): void => {
    if (replaced.has(relayed)) return;
    replaced.add(relayed);
    const afterMs = performance.now() - (openedAt.get(relayed) ?? performance.now());
    events.emit('connection:direct', { connection: direct, relayed, afterMs });
    retire(relayed);
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
      if (directTo(connection.remotePeer) === undefined) {
        answer(connection, list, rtt).catch(() => {});
      }
    },

    opened: (connection) => {
      const { remotePeer: peer, circuit, role } = connection;
      const id = peer.toString();
      if (circuit === undefined) {
        for (const found of [...(waiting.get(id) ?? [])]) found(connection);
        const relayed = connections.list(peer).filter((it) => it.circuit !== undefined);
        for (const old of relayed) replace(old, connection);
        return;
      }
      openedAt.set(connection, performance.now());
      const direct = directTo(peer);
      if (direct !== undefined) replace(connection, direct);
      else if (role === 'listener' && mayBegin(id)) {
        running.add(id);
        initiate(connection).finally(() => running.delete(id));
      }
    },
  };
};
