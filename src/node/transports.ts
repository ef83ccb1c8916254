/** The transports of a node, and the choice of one for an address. */

import { CODE_DNSADDR, type Multiaddr } from '@multiformats/multiaddr';
import type { Role } from '../connection.ts';
import { LeanError } from '../errors.ts';
import { isCircuit, relayOf } from '../multiaddr.ts';
import type { Transport, TransportContext, TransportFactory } from '../transports/transport.ts';

export interface Transports {
  /** The first transport that handles `address`. @throws ERR_UNSUPPORTED when there is none. */
  find(address: Multiaddr): Transport;
  /** Whether a transport handles `address`. */
  has(address: Multiaddr): boolean;
  /** @see Transport.punch. Never rejects. */
  punch(address: Multiaddr, sharing: number, signal: AbortSignal): Promise<boolean>;
  /**
   * Loads the transports that `addresses` need, or all of them.
   *
   * @throws the first one's error if none of them could be loaded.
   */
  prepare(role: Role, addresses?: readonly Multiaddr[]): Promise<void>;
}

/**
 * @param own transports that every node has, besides those of the factories.
 * @throws what the factories throw.
 */
export const createTransports = async (
  factories: readonly TransportFactory[],
  context: TransportContext,
  own: readonly Transport[] = [],
): Promise<Transports> => {
  const given = await Promise.all(factories.map((make) => make(context)));
  const transports = [...given, ...own];

  const find = (address: Multiaddr): Transport => {
    const found = transports.find((it) => it.handles(address));
    if (found !== undefined) return found;
    throw new LeanError('ERR_UNSUPPORTED', `address ${address}: this node has no transport for it`);
  };

  return {
    find,
    has: (address) => transports.some((it) => it.handles(address)),
    punch: async (address, sharing, signal) => {
      try {
        return (await find(address).punch?.(address, sharing, signal)) ?? false;
      } catch {
        return false;
      }
    },
    prepare: async (role, addresses) => {
      const all = addresses?.flatMap((address) => [address, ...relaysOf(address)]);
      // Relayed addresses need the transport of their relay.
      const needed = given.filter(
        (it) => all?.some((address) => isDnsaddr(address) || it.handles(address)) ?? true,
      );
      const prepared = await Promise.allSettled(needed.map((it) => it.prepare?.(role)));
      const [first] = prepared;
      const useless = prepared.every(({ status }) => status === 'rejected');
      if (useless && first?.status === 'rejected') throw first.reason;
    },
  };
};

/** The address of the relay in a relayed address. */
const relaysOf = (address: Multiaddr): Multiaddr[] => {
  try {
    return isCircuit(address) ? [relayOf(address)] : [];
  } catch {
    return []; // Dialling it reports the error.
  }
};

/** It may resolve to an address of any transport. */
const isDnsaddr = (address: Multiaddr): boolean =>
  address.getComponents()[0]?.code === CODE_DNSADDR;
