/**
 * Who a listener lets in: bounds on its connections, for each host and in all. What is full makes
 * room at the cost of a connection that is not authenticated yet, the oldest of the host that has
 * most of them, so that one host cannot shut out another.
 */

import { LeanError } from './errors.ts';
import type { PendingPool, PoolMember, PoolPlace } from './pending-pool.ts';
import { isLoopback, plainHost } from './socket-address.ts';

/**
 * Of one listener; a node holds all its listeners together to `maxConnections`, `maxConnectionsPerHost` and
 * `maxPending`, too. What peers opened is
 * counted, not what was dialled. A host is an IPv4 address or an IPv6 /56, which is what one customer
 * gets; loopback, where all that runs on this machine comes from, has no limits of its own.
 */
export interface AdmissionLimits {
  /**
   * Connections, those that are not authenticated yet among them: 10,000. When there are so many, a
   * newcomer takes the place of one that is not authenticated yet, or is refused if there is none.
   */
  readonly maxConnections: number;
  /** Those of one host: 512. A newcomer takes the place of one of its own host, or is refused. */
  readonly maxConnectionsPerHost: number;
  /**
   * Connections that are not authenticated yet, upgrades and QUIC handshakes: 1,000. When there are so
   * many, the host that has most of them (at one listener) loses its oldest to a newcomer.
   */
  readonly maxPending: number;
  /** Those of one host: 256. When there are so many, it loses its oldest to a newcomer. */
  readonly maxPendingPerHost: number;
}

/**
 * Many peers may share an address (NAT, a proxy, a test network's host), so one host gets more than
 * go-libp2p's 8 connections; but not so much that a few hosts hold all.
 */
export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  maxConnections: 10_000,
  maxConnectionsPerHost: 512,
  maxPending: 1_000,
  maxPendingPerHost: 256,
};

export interface Admission {
  /** Connections that are not authenticated yet. */
  readonly pending: number;

  /**
   * Counts one more connection, which is not authenticated yet.
   *
   * @param host where it comes from: an IP literal.
   * @param onEvicted ends the connection, which is not counted any more; called once at most.
   * @returns the limit that is reached, when there is no room and nobody can be evicted.
   */
  enter(host: string, onEvicted: (why: LeanError) => void): Guest | keyof AdmissionLimits;

  /** The listener is closed: its connections count no more for others. Idempotent. */
  close(): void;
}

/** One connection that is counted. */
export interface Guest {
  /** It is not evicted any more. */
  authenticated(): void;
  /** It is gone. Idempotent. */
  leave(): void;
}

/** Why somebody was not let in; undefined: the listener is closed. */
export const tooMany = (limit: keyof AdmissionLimits | undefined): LeanError => {
  const name = limit === undefined ? '' : ` (${limit})`;
  return new LeanError('ERR_CONNECTION_CLOSED', `too many connections${name}`);
};

interface Group {
  /** The oldest first. */
  readonly pending: Set<Pending>;
  authenticated: number;
}

interface Pending {
  readonly group: Group;
  /** Rises with every one. */
  readonly order: number;
  readonly evict: (why: LeanError) => void;
}

/** @param pool of the listener's node. */
export const createAdmission = (limits: AdmissionLimits, pool?: PendingPool): Admission => {
  const groups = new Map<string, Group>();
  /** Those among them with somebody pending. */
  const waiting = new Set<Group>();
  let pending = 0;
  let authenticated = 0;
  let order = 0;

  const removePending = (entry: Pending): boolean => {
    const { group } = entry;
    if (!group.pending.delete(entry)) return false;
    if (group.pending.size === 0) waiting.delete(group);
    pending--;
    return true;
  };

  /** Whose oldest connection has to go, when all places are taken and one of `newcomer` is to come in. */
  const mostCrowded = (newcomer?: Group): Pending | undefined => {
    let most = 0;
    let victim: Pending | undefined;
    for (const group of waiting) {
      const count = group.pending.size + (group === newcomer ? 1 : 0);
      if (count < most) continue;
      const [oldest] = group.pending;
      if (oldest === undefined) continue;
      if (count === most && victim !== undefined && victim.order < oldest.order) continue;
      most = count;
      victim = oldest;
    }
    return victim;
  };

  /** Which limit of its own a host has reached. */
  const fullness = ({ pending, authenticated }: Group): keyof AdmissionLimits | undefined => {
    if (pending.size >= limits.maxPendingPerHost) return 'maxPendingPerHost';
    if (pending.size + authenticated >= limits.maxConnectionsPerHost) {
      return 'maxConnectionsPerHost';
    }
    return undefined;
  };

  /** Which limit of all hosts together is reached. */
  const fullnessOfAll = (): keyof AdmissionLimits | undefined => {
    if (pending >= limits.maxPending) return 'maxPending';
    return pending + authenticated >= limits.maxConnections ? 'maxConnections' : undefined;
  };

  const evict = (victim: Pending, limit: keyof AdmissionLimits): void => {
    removePending(victim);
    const why = `too many connections: evicted (${limit})`;
    victim.evict(new LeanError('ERR_CONNECTION_CLOSED', why));
  };

  const member: PoolMember = {
    pending: () => pending,
    crowd: () => mostCrowded()?.group.pending.size ?? 0,
    evictOldest: () => {
      const victim = mostCrowded();
      if (victim !== undefined) evict(victim, 'maxPending');
    },
  };
  let place: PoolPlace | undefined;

  return {
    get pending() {
      return pending;
    },

    enter: (host, onEvicted) => {
      const ip = plainHost(host);
      const key = hostKeyOf(ip);
      const group = groups.get(key) ?? { pending: new Set<Pending>(), authenticated: 0 };
      const full = isLoopback(ip) ? undefined : fullness(group);
      const limit = full ?? fullnessOfAll();
      if (limit !== undefined) {
        const [own] = group.pending;
        const victim = full === undefined ? mostCrowded(group) : own;
        if (victim === undefined) return limit;
        evict(victim, limit);
      }
      const entry: Pending = { group, order: order++, evict: onEvicted };
      group.pending.add(entry);
      waiting.add(group);
      groups.set(key, group);
      pending++;
      // Not before: it may not get bound.
      place ??= pool?.add(member);
      place?.arrived();
      let counted = false;
      return {
        authenticated: () => {
          if (!removePending(entry)) return;
          counted = true;
          group.authenticated++;
          authenticated++;
        },
        leave: () => {
          if (counted) {
            counted = false;
            group.authenticated--;
            authenticated--;
          } else removePending(entry);
          const empty = group.authenticated === 0 && group.pending.size === 0;
          if (empty && groups.get(key) === group) groups.delete(key);
        },
      };
    },

    close: () => place?.leave(),
  };
};

/** The IPv4 address, or the first 56 bits of the IPv6 address. @param ip as of `plainHost`. */
export const hostKeyOf = (ip: string): string => {
  if (!ip.includes(':')) return ip;
  const [head = '', tail] = ip.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeroes = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  const [a, b, c, d] = [...left, ...zeroes, ...right].map((group) => Number.parseInt(group, 16));
  const hex = [a, b, c, (d ?? 0) & 0xff00].map((group) => (group ?? 0).toString(16));
  return `${hex.join(':')}::/56`;
};
