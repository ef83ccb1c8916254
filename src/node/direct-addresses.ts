/** The addresses of a hole punch: which of ours the peer is told, and which of the peer's are dialled. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { type IpScope, scopeOf } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, peerOf, withoutPeer } from '../multiaddr.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';

/** Addresses that are told, and dialled at once, at most. */
const MAX_ADDRESSES = 8;

/**
 * What of `addresses` makes sense to a peer that came through a relay, where that relay is within `scope`.
 *
 * Private addresses are those of whoever is meant by them there: they count only where the relay has one of the
 * same block, so that all three are in one network. QUIC and TCP, IP literals alone; QUIC first.
 *
 * @param peer whose they are.
 */
export const directAddresses = (
  addresses: readonly Multiaddr[],
  scope: IpScope,
  peer?: PeerId,
): Multiaddr[] => {
  const found = new Map<string, Multiaddr>();
  for (const given of addresses) {
    if (isCircuit(given)) continue;
    if (peer !== undefined && isOfAnother(given, peer)) continue;
    const address = withoutPeer(given);
    const kind = kindOf(address);
    if (kind !== 'quic-v1' && kind !== 'tcp') continue;
    const { host, port, name } = hostOf(address);
    if (name !== undefined || port === 0) continue;
    const reach = scopeOf(host);
    if (reach === 'public' ? scope !== 'loopback' : reach === scope) {
      found.set(address.toString(), address);
    }
  }
  const list = [...found.values()];
  const isQuic = (address: Multiaddr): boolean => kindOf(address) === 'quic-v1';
  const sorted = [...list.filter(isQuic), ...list.filter((address) => !isQuic(address))];
  return sorted.slice(0, MAX_ADDRESSES);
};

/** An address that a hole punch dials. */
export interface PunchTarget {
  readonly address: Multiaddr;
  /** How many times in one attempt. */
  readonly dials: number;
}

/**
 * What of a peer's addresses is dialled, and how often: whose they are nobody has checked, so that they are those of
 * few hosts, each with a number of dials that does not grow with its addresses.
 *
 * @param addresses IP literals, the best first.
 */
export const punchTargets = (
  addresses: readonly Multiaddr[],
  { maxHosts, maxDialsPerHost }: HolePunchLimits,
): PunchTarget[] => {
  const hosts = new Map<string, number>();
  const chosen: { readonly address: Multiaddr; readonly host: string }[] = [];
  for (const address of addresses) {
    const host = hostKeyOf(ipOf(address) ?? '');
    const count = hosts.get(host) ?? 0;
    if (count === 0 ? hosts.size >= maxHosts : count >= maxDialsPerHost) continue;
    hosts.set(host, count + 1);
    chosen.push({ address, host });
  }
  return chosen.map(({ address, host }) => ({
    address,
    dials: Math.floor(maxDialsPerHost / (hosts.get(host) ?? 1)),
  }));
};

const isOfAnother = (address: Multiaddr, peer: PeerId): boolean => {
  try {
    return peerOf(address)?.equals(peer) === false;
  } catch {
    return true; // It names none that we could know.
  }
};
