/** The addresses of a hole punch: which of ours are sent to the peer, and which of the peer's are dialled. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { hostKeyOf } from '../admission.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { type IpScope, scopeOf } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, peerOf, withoutPeer } from '../multiaddr.ts';
import type { HolePunchLimits } from './hole-punch-limits.ts';

/** Addresses that are sent, or dialled at once, at most. */
const MAX_ADDRESSES = 8;

/**
 * Those of `addresses` that can be dialled between this node and a peer, connected through a relay whose address is of
 * `scope`.
 *
 * A private address means another host in another network. It is used only if the relay's address is of the same
 * block, so that all three are in one network. IP literals of QUIC and TCP only; QUIC first.
 *
 * @param peer whose addresses they are.
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
  /** The number of dials in one attempt. */
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
    return true; // The peer id is malformed.
  }
};
