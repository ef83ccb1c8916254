/** Multiaddrs that somebody typed. */

import { CODE_DNSADDR, type Multiaddr } from '@multiformats/multiaddr';
import { LeanError, messageOf } from '../errors.ts';
import { type AddressKind, kindOf, parseMultiaddr } from '../multiaddr.ts';

/** @throws ERR_CONFIG when it is malformed. */
export const parseAddress = (text: string): Multiaddr => {
  try {
    return parseMultiaddr(text);
  } catch (cause) {
    throw new LeanError('ERR_CONFIG', messageOf(cause), { cause });
  }
};

/**
 * The transports that dialling `addresses` may need. What is loaded before the dial starts is not
 * counted as its time.
 */
export const kindsOf = (addresses: readonly Multiaddr[]): AddressKind[] => {
  const kinds = addresses.flatMap((address): AddressKind[] => {
    // Any may come of it.
    const isDnsaddr = address.getComponents()[0]?.code === CODE_DNSADDR;
    return isDnsaddr ? ['quic-v1', 'tcp', 'ws', 'wss'] : [kindOf(address) ?? []].flat();
  });
  return [...new Set(kinds)];
};
