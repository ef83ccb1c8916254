import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError, messageOf } from '../errors.ts';
import { parseMultiaddr } from '../multiaddr.ts';

/** A multiaddr that somebody typed. @throws ERR_CONFIG when it is malformed. */
export const parseAddress = (text: string): Multiaddr => {
  try {
    return parseMultiaddr(text);
  } catch (cause) {
    throw new LeanError('ERR_CONFIG', messageOf(cause), { cause });
  }
};
