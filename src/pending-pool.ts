/**
 * Limits the connections that are not authenticated yet over all listeners of a node. Each listener has its own
 * limits, too (admission.ts).
 */

import { checkRanges, type LimitRanges, MAX_COUNT } from './limit-ranges.ts';

export const PENDING_RANGE: LimitRanges<{ readonly maxPending: number }> = {
  maxPending: [1, MAX_COUNT],
};

export interface PendingPool {
  /** Counts what is pending at a listener from now on. */
  add(member: PoolMember): PoolPlace;
}

/** A listener, as the pool sees it. */
export interface PoolMember {
  /** How many of its connections are not authenticated yet. */
  pending(): number;
  /** How many of them the host with the most has. */
  crowd(): number;
  /** Ends the oldest one of that host. */
  evictOldest(): void;
  /**
   * For a listener whose connections are admitted on another thread: from now on it must call `arrived()` when it
   * has more than `count` pending.
   */
  tellAbove?(count: number): void;
}

/** A listener's membership of the pool. */
export interface PoolPlace {
  /** The listener has more pending connections than before. Over the limit, one or more are evicted. */
  arrived(): void;
  /** The listener is closed. Idempotent. */
  leave(): void;
}

/**
 * A pool of at most `max` pending connections. Above, the oldest one is evicted of the host that has most of them at
 * one listener.
 *
 * @throws ERR_OPTIONS for a `max` that is out of the range of `maxPending`.
 */
export const createPendingPool = (max: number): PendingPool => {
  checkRanges({ maxPending: max }, PENDING_RANGE, 'a pending pool');
  const members = new Set<PoolMember>();

  const total = (): number => {
    let sum = 0;
    for (const member of members) sum += member.pending();
    return sum;
  };

  /** The member with the most pending connections of one host; among equals, not `arrivedAt`. */
  const mostCrowded = (arrivedAt: PoolMember): PoolMember => {
    let victim = arrivedAt;
    let most = arrivedAt.crowd();
    for (const member of members) {
      const crowd = member.crowd();
      if (crowd < most || (crowd === most && victim !== arrivedAt)) continue;
      most = crowd;
      victim = member;
    }
    return victim;
  };

  /** As long as no member is above its equal share, the total is not above the limit. */
  const share = (): void => {
    for (const member of members) member.tellAbove?.(Math.floor(max / members.size));
  };

  return {
    add: (member) => {
      members.add(member);
      share();
      return {
        arrived: () => {
          for (let tooMany = total() - max; tooMany > 0; tooMany--)
            mostCrowded(member).evictOldest();
        },
        leave: () => {
          if (members.delete(member)) share();
        },
      };
    },
  };
};
