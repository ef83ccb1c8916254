/** Parses the multiaddrs that the command line is given. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { messageOf } from '../errors.ts';
import { HarnessError } from '../harness/errors.ts';
import { checkDialable, circuitOf, parseMultiaddr } from '../multiaddr.ts';

/** An address to listen on. @throws ERR_CONFIG when it is malformed. */
export const parseListenAddress = (text: string): Multiaddr =>
  asConfiguration(() => parseMultiaddr(text));

/** An address to dial. @throws ERR_CONFIG when it is malformed or cannot be dialled. */
export const parseDialAddress = (text: string): Multiaddr =>
  asConfiguration(() => {
    const address = parseMultiaddr(text);
    checkDialable(address);
    return address;
  });

/** The address `<relay>/p2p-circuit` for a relay's address. @throws ERR_CONFIG as `parseDialAddress()`, and without a peer id. */
export const parseRelay = (text: string): Multiaddr =>
  asConfiguration(() => {
    const address = circuitOf(parseDialAddress(text));
    checkDialable(address);
    return address;
  });

/** Runs `read` on what the user has given: whatever it throws becomes ERR_CONFIG. */
const asConfiguration = <T>(read: () => T): T => {
  try {
    return read();
  } catch (cause) {
    throw new HarnessError('ERR_CONFIG', messageOf(cause), { cause });
  }
};
