/**
 * Where peers see this node: behind a NAT that is not where it listens. What a peer says counts as long as we are
 * connected to it, and only of connections that use a listener's port: others have a mapping of their own.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import type { Connection } from '../connection.ts';
import { scopeOf } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, withoutPeer } from '../multiaddr.ts';

/** Networks whose peers must have seen an address before it counts. */
const CONFIRMATIONS = 3;
/** Addresses that are kept, and peers for each; those that come then are ignored. */
const MAX_ADDRESSES = 64;
const MAX_OBSERVERS = 64;
/** Of an IPv4 address, what its network is taken to be. */
const IPV4_NETWORK_BYTES = 2;

export interface ObservedAddresses {
  /** `connection`'s peer sees us at `address`. */
  observe(connection: Connection, address: Multiaddr | undefined): void;
  /** What any peer has seen, the one seen by most networks first. */
  candidates(): Multiaddr[];
  /** What peers of several networks have seen. */
  confirmed(): Multiaddr[];
}

interface Observed {
  readonly address: Multiaddr;
  /** The network of each peer that sees it. */
  readonly observers: Map<Connection, string>;
}

/** @param listening the bound addresses of this node's listeners. */
export const createObservedAddresses = (
  listening: () => readonly Multiaddr[],
): ObservedAddresses => {
  const observed = new Map<string, Observed>();

  const networksOf = ({ observers }: Observed): number => new Set(observers.values()).size;

  const sorted = (): Observed[] =>
    [...observed.values()].sort((a, b) => networksOf(b) - networksOf(a));

  const usesListener = ({ localAddress }: Connection): boolean => {
    const kind = kindOf(localAddress);
    const { port } = hostOf(localAddress);
    return listening().some(
      (address) => !isCircuit(address) && kindOf(address) === kind && hostOf(address).port === port,
    );
  };

  return {
    observe: (connection, said) => {
      if (said === undefined || connection.circuit !== undefined || isCircuit(said)) return;
      const address = withoutPeer(said);
      const kind = kindOf(address);
      if (kind !== 'quic-v1' && kind !== 'tcp') return;
      if (kindOf(connection.localAddress) !== kind || !usesListener(connection)) return;
      if (scopeOf(hostOf(address).host) === undefined || hostOf(address).port === 0) return;
      const key = address.toString();
      const entry = observed.get(key) ?? { address, observers: new Map<Connection, string>() };
      const isNew = entry.observers.size === 0;
      if (isNew && observed.size >= MAX_ADDRESSES) return;
      if (entry.observers.size >= MAX_OBSERVERS) return;
      observed.set(key, entry);
      entry.observers.set(connection, networkOf(connection));
      connection.closed.then(() => {
        entry.observers.delete(connection);
        if (entry.observers.size === 0 && observed.get(key) === entry) observed.delete(key);
      });
    },
    candidates: () => sorted().map(({ address }) => address),
    confirmed: () =>
      sorted()
        .filter((it) => networksOf(it) >= CONFIRMATIONS)
        .map(({ address }) => address),
  };
};

/** Peers of one network may be one peer: an IPv4 /16, an IPv6 /56. */
const networkOf = ({ remoteAddress }: Connection): string => {
  const ip = ipOf(remoteAddress) ?? '';
  return ip.includes(':') ? hostKeyOf(ip) : ip.split('.').slice(0, IPV4_NETWORK_BYTES).join('.');
};
