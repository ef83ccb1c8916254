/** The payload of Noise handshake messages (src/secure/noise-payload.ts), protobuf. */

import { hostKeyFromSeed } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { encodePayload, verifyPayload } from '../../src/secure/noise-payload.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';

const STATIC_KEY = new Uint8Array(32).fill(7);
const hostKey = hostKeyFromSeed(new Uint8Array(32));
const peer = peerIdOf(hostKey.publicKey);

export const target: FuzzTarget = {
  seeds: () => [
    encodePayload(hostKey, STATIC_KEY, ['/yamux/1.0.0', '/mplex/6.7.0']),
    encodePayload(hostKey, STATIC_KEY, []),
  ],
  words: [
    Uint8Array.of(0x0a, 36),
    Uint8Array.of(0x12, 64),
    Uint8Array.of(0x22, 2),
    Uint8Array.of(0x12, 0),
  ],
  fuzz: (data) => {
    try {
      const verified = verifyPayload(data, STATIC_KEY);
      check(verified.peer.equals(peer), 'nobody else signed it');
      check((verified.muxers?.length ?? 1) <= 100, 'muxers are bounded');
    } catch (error) {
      expected(error, 'ERR_HANDSHAKE', 'ERR_KEY_');
    }
  },
};
