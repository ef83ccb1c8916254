/** AutoNAT's messages (src/protocols/autonat-messages.ts). The first byte odd: a dial-back. */

import { parseMultiaddr } from '../../src/multiaddr.ts';
import {
  decodeAutonat,
  decodeDialBack,
  encodeDataRequest,
  encodeDialBack,
  encodeDialRequest,
  encodeDialResponse,
  MAX_AUTONAT_ADDRESSES,
} from '../../src/protocols/autonat-messages.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { inChunks } from '../support/pipe.ts';

const addresses = ['/ip4/1.2.3.4/udp/4001/quic-v1', '/ip6/2001:db8::1/tcp/1'].map(parseMultiaddr);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, encodeDialRequest({ addresses, nonce: 0x0123_4567_89ab_cdefn })),
    inChunks(0, encodeDialResponse({ status: 200, addressIndex: 1, dialStatus: 200 })),
    inChunks(0, encodeDataRequest({ addressIndex: 0, bytes: 60_000 })),
    inChunks(0, Uint8Array.of(0x22, 4, 0x0a, 2, 0, 0)),
    inChunks(1, encodeDialBack(7n)),
  ],
  words: [Uint8Array.of(0x0a, 0), Uint8Array.of(0x11), Uint8Array.of(0x22, 2, 0x0a, 0)],
  maxLength: 8192,
  fuzz: (data) => {
    const bytes = data.subarray(1);
    try {
      if (((data[0] ?? 0) & 1) === 1) {
        const nonce = decodeDialBack(bytes);
        check(decodeDialBack(encodeDialBack(nonce)) === nonce, 'a nonce reads back');
        return;
      }
      const { request, response, dataRequest, dialData } = decodeAutonat(bytes);
      check((request?.addresses.length ?? 0) <= MAX_AUTONAT_ADDRESSES, 'addresses are bounded');
      check((dialData ?? 0) <= bytes.length, 'dial data was there');
      for (const number of [response?.status, response?.addressIndex, dataRequest?.bytes]) {
        check(
          number === undefined || (Number.isSafeInteger(number) && number >= 0),
          'a number is one',
        );
      }
    } catch (error) {
      expected(error, 'ERR_PROTOCOL_VIOLATION');
    }
  },
};
