/** The addresses of a hole punch: which of ours are sent to the peer, and which of the peer's are dialled. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { type IpScope, scopeOf } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, peerOf, withoutPeer } from '../multiaddr.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';

/** The most addresses that are sent, or dialled at the same time. */
const MAX_ADDRESSES = 8;

/**
 * Those of `addresses` that may lead from this node to a peer, or from the peer to this node: IP literals of QUIC and
 * TCP, QUIC first, at most 8.
 *
 * A private address belongs to different hosts in different networks. It is used only if the relay's address is in the
 * same block: then this node, the peer and the relay are taken to be in one network.
 *
 * @param scope the scope of the relay's address.
 * @param peer the peer that sent the addresses; those that name another peer are left out.
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
  /** How often it is dialled in one attempt. */
  readonly dials: number;
}

/**
 * Which of a peer's addresses are dialled, and how often. Nobody has checked that they are the peer's, so hosts are
 * limited, and so are the dials of each host, however many addresses it has.
 *
 * @param addresses IP literals, the best first.
 */
export const punchTargets = (
  addresses: readonly Multiaddr[],
  { maxHosts, maxDialsPerHost }: Pick<HolePunchLimits, 'maxHosts' | 'maxDialsPerHost'>,
): PunchTarget[] => {
  const hosts = new Map<string, number>();
  const chosen: { readonly address: Multiaddr; readonly host: string }[] = [];
  for (const address of addresses) {
    const host = punchedHostOf(address);
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

/** The host that dials to `address`, an IP literal, are counted for. Unlike in `countedHostOf`, loopback counts. */
export const punchedHostOf = (address: Multiaddr): string => hostKeyOf(ipOf(address) ?? '');

const isOfAnother = (address: Multiaddr, peer: PeerId): boolean => {
  try {
    return peerOf(address)?.equals(peer) === false;
  } catch {
    return true; // The peer id is malformed.
  }
};
