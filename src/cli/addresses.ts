/** Multiaddrs of the command line. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { messageOf } from '../errors.ts';
import { HarnessError } from '../harness/errors.ts';
import { parseMultiaddr } from '../multiaddr.ts';

/** @throws ERR_CONFIG when it is malformed. */
export const parseAddress = (text: string): Multiaddr => {
  try {
    return parseMultiaddr(text);
  } catch (cause) {
    throw new HarnessError('ERR_CONFIG', messageOf(cause), { cause });
  }
};
