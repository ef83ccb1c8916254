/**
 * Admission control of a listener: limits on its connections, per host and in total. At a limit, a newcomer
 * replaces a connection that is not authenticated yet: the oldest of the host that has most of them, so that
 * one host cannot shut out another.
 */

import { LeanError } from './errors.ts';
import { type LimitRanges, MAX_COUNT } from './limit-ranges.ts';
import {
  PENDING_RANGE,
  type PendingPool,
  type PoolMember,
  type PoolPlace,
} from './pending-pool.ts';
import { isLoopback, plainHost } from './socket-address.ts';

/**
 * Limits of one listener. A node also applies `maxConnections`, `maxConnectionsPerHost` and `maxPending` to all of
 * its listeners together. Only inbound connections count. A host is an IPv4 address or an IPv6 /56 (the block that
 * providers typically assign to one customer); the limits per host do not apply to loopback.
 */
export interface AdmissionLimits {
  /**
   * Connections, including those that are not authenticated yet; default 10,000. At the limit, a newcomer replaces
   * one that is not authenticated yet, or is refused if there is none.
   */
  readonly maxConnections: number;
  /**
   * Connections of one host, default 512. At the limit, a newcomer replaces one of its host's that is not
   * authenticated yet, or is refused if there is none.
   */
  readonly maxConnectionsPerHost: number;
  /**
   * Connections that are not authenticated yet (upgrades and QUIC handshakes), default 1,000. At the limit, a
   * newcomer replaces the oldest one of the host that has most of them at one listener.
   */
  readonly maxPending: number;
  /** The same for one host, default 256. At the limit, a newcomer replaces its host's oldest one. */
  readonly maxPendingPerHost: number;
}

/**
 * Many peers may share an address (NAT, a proxy, the host of a test network), so one host may have more than
 * go-libp2p's 8 connections, but not so many that a few hosts could take all places.
 */
export const DEFAULT_ADMISSION_LIMITS: AdmissionLimits = {
  maxConnections: 10_000,
  maxConnectionsPerHost: 512,
  maxPending: 1_000,
  maxPendingPerHost: 256,
};

export const ADMISSION_RANGES: LimitRanges<AdmissionLimits> = {
  maxConnections: [0, MAX_COUNT],
  maxConnectionsPerHost: [0, MAX_COUNT],
  ...PENDING_RANGE,
  maxPendingPerHost: [1, MAX_COUNT],
};

export interface Admission {
  /** Connections that are not authenticated yet. */
  readonly pending: number;

  /**
   * Counts one more connection, which is not authenticated yet.
   *
   * @param host where it comes from: an IP literal.
   * @param onEvicted must end the connection, which is no longer counted; called at most once.
   * @returns the admitted connection, or, if there is no room and none can be evicted, the limit that is reached.
   */
  enter(
    host: string,
    onEvicted: (why: LeanError) => void,
  ): AdmittedConnection | keyof AdmissionLimits;

  /** The listener is closed: its connections no longer count towards the node's limits. Idempotent. */
  close(): void;
}

/** A connection that is counted. */
export interface AdmittedConnection {
  /** The peer is authenticated: the connection can no longer be evicted. */
  authenticated(): void;
  /** The connection has ended. Idempotent. */
  leave(): void;
}

/** The error of a refused connection. @param limit the limit that is reached; `undefined`: the listener is closed. */
export const tooMany = (limit: keyof AdmissionLimits | undefined): LeanError => {
  const name = limit === undefined ? '' : ` (${limit})`;
  return new LeanError('ERR_CONNECTION_CLOSED', `too many connections${name}`);
};

/** The connections of one host. */
interface Group {
  /** Those that are not authenticated yet, oldest first. */
  readonly pending: Set<Pending>;
  /** The number of the others. */
  authenticated: number;
}

interface Pending {
  readonly group: Group;
  /** Larger for later connections. */
  readonly order: number;
  readonly evict: (why: LeanError) => void;
}

/** Admission control for one listener. @param pool limits what is pending over all listeners of its node. */
export const createAdmission = (limits: AdmissionLimits, pool?: PendingPool): Admission => {
  const groups = new Map<string, Group>();
  /** The groups with pending connections. */
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

  /** The connection to evict when a limit is reached and a connection of `newcomer` arrives. */
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

  /** The limit per host that `group` has reached; `undefined`: none. */
  const reachedByHost = ({ pending, authenticated }: Group): keyof AdmissionLimits | undefined => {
    if (pending.size >= limits.maxPendingPerHost) return 'maxPendingPerHost';
    if (pending.size + authenticated >= limits.maxConnectionsPerHost) {
      return 'maxConnectionsPerHost';
    }
    return undefined;
  };

  /** The total limit that is reached; `undefined`: none. */
  const reachedInTotal = (): keyof AdmissionLimits | undefined => {
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
      const hostLimit = isLoopback(ip) ? undefined : reachedByHost(group);
      const limit = hostLimit ?? reachedInTotal();
      if (limit !== undefined) {
        const [own] = group.pending;
        const victim = hostLimit === undefined ? mostCrowded(group) : own;
        if (victim === undefined) return limit;
        evict(victim, limit);
      }
      const entry: Pending = { group, order: order++, evict: onEvicted };
      group.pending.add(entry);
      waiting.add(group);
      groups.set(key, group);
      pending++;
      // Joins the pool only now: a listener that fails to bind is never closed, so it would stay in the pool.
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

/** The key of a host: its IPv4 address, or the first 56 bits of its IPv6 address. @param ip as `plainHost` returns it. */
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
