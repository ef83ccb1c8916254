/** The addresses of a hole punch: which of ours the peer is told, and which of the peer's are dialled. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { PeerId } from '../identity/peer-id.ts';
import type { IpScope } from '../ip-scope.ts';
import { scopeOf } from '../ip-scope.ts';
import { hostOf, isCircuit, kindOf, peerOf, withoutPeer } from '../multiaddr.ts';

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

const isOfAnother = (address: Multiaddr, peer: PeerId): boolean => {
  try {
    return peerOf(address)?.equals(peer) === false;
  } catch {
    return true; // It names none that we could know.
  }
};
