/**
 * One attempt to punch a hole (libp2p/specs relay/DCUtR.md): this node and a peer dial each other at the same moment, so
 * that each NAT takes the packets from the other side for replies.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection, Role } from '../connection.ts';
import { pause, startDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { kindOf } from '../multiaddr.ts';
import type { Dialing } from './dialing.ts';
import { type PunchTarget, punchedHostOf, punchTargets } from './direct-addresses.ts';
import type { DirectConnections } from './direct-connections.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';
import type { Transports } from './transports.ts';

/** How long one attempt may take; milliseconds, go-libp2p's value, and rust-libp2p's for QUIC. */
const ATTEMPT_TIMEOUT = 5_000;
/**
 * When an address is dialled again in an attempt, as the first packets may arrive before the hole is open: after
 * `first` milliseconds, which grow by `factor` with each dial. Over QUIC the dials overlap, and each retransmits its
 * packets; over TCP one begins when the previous one has failed.
 */
const QUIC_REDIAL = { first: 200, factor: 2 };
const TCP_REDIAL = { first: 25, factor: 3 };

export interface HolePunchOptions {
  readonly dialing: Dialing;
  readonly transports: Transports;
  readonly direct: DirectConnections;
  readonly limits: HolePunchLimits;
}

export interface PunchedPeer {
  readonly peer: PeerId;
  /** Where it may be reached, the best first. */
  readonly addresses: readonly Multiaddr[];
  /** Our role in the connection that is to be made. */
  readonly role: Role;
  /** Of the relayed connection, milliseconds. */
  readonly rtt: number;
}

/** @returns the direct connection. @throws the reason of `signal`; ERR_TIMEOUT. */
export type HolePunch = (punched: PunchedPeer, signal: AbortSignal) => Promise<Connection>;

export const createHolePunch = ({
  dialing,
  transports,
  direct,
  limits,
}: HolePunchOptions): HolePunch => {
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

  return async ({ peer, addresses, role, rtt }, parent) => {
    const deadline = startDeadline(ATTEMPT_TIMEOUT, 'punching a hole', parent);
    const { signal } = deadline;
    try {
      const found = direct.until(peer, signal);
      const targets = punchTargets(addresses, limits);
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
      return await found;
    } finally {
      deadline.abort(new LeanError('ERR_ABORTED', 'the hole punch is over'));
      deadline.clear();
    }
  };
};
