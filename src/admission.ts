/**
 * Admission control of a listener: limits on its connections, per host and in total. At a limit, a newcomer
 * replaces a connection that is not authenticated yet: the oldest of the host that has most of them, so that
 * one host cannot shut out another.
 */

import { LeanError } from './errors.ts';
import { type LimitRanges, MAX_COUNT } from './limit-ranges.ts';
import type { PendingPool, PoolMember, PoolPlace } from './pending-pool.ts';
import { isLoopback, plainHost } from './socket-address.ts';

/**
 * Limits of one listener. A node also applies `maxConnections`, `maxConnectionsPerHost` and `maxPending` to all of
 * its listeners together. Only inbound connections count. A host is an IPv4 address or an IPv6 /56, which is what
 * one customer gets; there are no limits per host for loopback.
 */
export interface AdmissionLimits {
  /**
   * Connections, including those that are not authenticated yet: 10,000. At the limit, a newcomer replaces
   * one that is not authenticated yet, or is refused if there is none.
   */
  readonly maxConnections: number;
  /** Connections of one host: 512. At the limit, a newcomer replaces one of its own host, or is refused. */
  readonly maxConnectionsPerHost: number;
  /**
   * Connections that are not authenticated yet (upgrades and QUIC handshakes): 1,000. At the limit, a newcomer
   * replaces the oldest one of the host that has most of them at one listener.
   */
  readonly maxPending: number;
  /** The same, of one host: 256. At the limit, a newcomer replaces the host's oldest one. */
  readonly maxPendingPerHost: number;
}

/**
 * Many peers may share an address (NAT, a proxy, the host of a test network), so one host gets more than
 * go-libp2p's 8 connections, but not so many that a few hosts could take them all.
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
  maxPending: [1, MAX_COUNT],
  maxPendingPerHost: [1, MAX_COUNT],
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

  /** The listener is closed: its connections no longer count towards the node's limits. Idempotent. */
  close(): void;
}

/** One connection that is counted. */
export interface Guest {
  /** It is not evicted any more. */
  authenticated(): void;
  /** It is gone. Idempotent. */
  leave(): void;
}

/** The error of a refused connection. @param limit that was reached; `undefined`: the listener is closed. */
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

  /** The connection to evict when the limit is reached and a connection of `newcomer` arrives. */
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

  /** The limit per host that `group` has reached. */
  const fullness = ({ pending, authenticated }: Group): keyof AdmissionLimits | undefined => {
    if (pending.size >= limits.maxPendingPerHost) return 'maxPendingPerHost';
    if (pending.size + authenticated >= limits.maxConnectionsPerHost) {
      return 'maxConnectionsPerHost';
    }
    return undefined;
  };

  /** The limit in total that is reached. */
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
