/**
 * The addresses of this node that peers observe: behind a NAT they differ from those it listens on. An observation
 * counts as long as its connection is open, and only if the connection uses a listener's port: a NAT maps other ports
 * differently.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import type { Connection } from '../connection.ts';
import { scopeOf } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, withoutPeer } from '../multiaddr.ts';

/** An address is confirmed when peers of so many networks have observed it. */
const CONFIRMATIONS = 3;
/** The most addresses that are kept, and observers of each; further ones are ignored. */
const MAX_ADDRESSES = 64;
const MAX_OBSERVERS = 64;
/** The same for one network, so that it cannot take all places. */
const MAX_ADDRESSES_OF_NETWORK = 4;
const MAX_OBSERVERS_OF_NETWORK = 4;
/** How many bytes of an IPv4 address identify its network. */
const IPV4_NETWORK_BYTES = 2;

export interface ObservedAddresses {
  /** The peer of `connection` observes us at `address`. */
  observe(connection: Connection, address: Multiaddr | undefined): void;
  /** The addresses that any peer observes, those observed from most networks first. */
  candidates(): Multiaddr[];
  /** The addresses that peers of several networks observe. */
  confirmed(): Multiaddr[];
}

interface Observed {
  readonly address: Multiaddr;
  /** The network of each peer that observes it. */
  readonly observers: Map<Connection, string>;
}

/** @param listening the bound addresses of this node's listeners. */
export const createObservedAddresses = (
  listening: () => readonly Multiaddr[],
): ObservedAddresses => {
  const observed = new Map<string, Observed>();

  const networksOf = ({ observers }: Observed): number => new Set(observers.values()).size;

  /** How many of `networks` are `network`. */
  const countOf = (networks: Iterable<string>, network: string): number => {
    let count = 0;
    for (const it of networks) if (it === network) count++;
    return count;
  };
  /** How many addresses peers of `network` observe. */
  const addressesOf = (network: string): number => {
    let count = 0;
    for (const { observers } of observed.values()) {
      if (countOf(observers.values(), network) > 0) count++;
    }
    return count;
  };
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
      const network = networkOf(connection);
      const same = countOf(entry.observers.values(), network);
      if (same >= MAX_OBSERVERS_OF_NETWORK) return;
      if (same === 0 && addressesOf(network) >= MAX_ADDRESSES_OF_NETWORK) return;
      observed.set(key, entry);
      entry.observers.set(connection, network);
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

/** An IPv4 /16 or an IPv6 /56: peers of one network may be the same party. */
const networkOf = ({ remoteAddress }: Connection): string => {
  const ip = ipOf(remoteAddress) ?? '';
  return ip.includes(':') ? hostKeyOf(ip) : ip.split('.').slice(0, IPV4_NETWORK_BYTES).join('.');
};
