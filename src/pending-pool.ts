/**
 * Limits the connections that are not authenticated yet over all listeners of a node. Each listener has its own
 * limits, too (admission.ts).
 */

export interface PendingPool {
  /** Counts what is pending at a listener from now on. */
  add(member: PoolMember): PoolPlace;
}

/** A listener. */
export interface PoolMember {
  /** Its connections that are not authenticated yet. */
  pending(): number;
  /** The number that the host with most of them has. */
  crowd(): number;
  /** Ends the oldest one of that host. */
  evictOldest(): void;
  /** For a listener that admits on another thread: it must call `arrived()` when it has more than `count` pending. */
  tellAbove?(count: number): void;
}

export interface PoolPlace {
  /** One more is pending there. If the limit is passed, the oldest of another one is evicted. */
  arrived(): void;
  /** The listener is closed. Idempotent. */
  leave(): void;
}

/**
 * When more than `max` are pending, the oldest one goes of the host that has most of them at one listener.
 *
 * @param max at least 1.
 */
export const createPendingPool = (max: number): PendingPool => {
  const members = new Set<PoolMember>();

  const total = (): number => {
    let sum = 0;
    for (const member of members) sum += member.pending();
    return sum;
  };

  /** Of several, not the one at which somebody has just arrived. */
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

  /** Nobody alone can be over the limit with less than this. */
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
