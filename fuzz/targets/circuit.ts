/**
 * Circuit relay's messages (src/protocols/circuit-messages.ts), and vouchers in signed envelopes. The first byte
 * says which: 0 hop, 1 stop, else a voucher.
 */

import { hostKeyFromSeed } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { parseMultiaddr } from '../../src/multiaddr.ts';
import {
  decodeHop,
  decodeStop,
  encodeHop,
  encodeStop,
  openVoucher,
  sealVoucher,
} from '../../src/protocols/circuit-messages.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { inChunks } from '../support/pipe.ts';

const relayKey = hostKeyFromSeed(new Uint8Array(32));
const relay = peerIdOf(relayKey.publicKey);
const peer = peerIdOf(hostKeyFromSeed(new Uint8Array(32).fill(1)).publicKey);
const voucher = sealVoucher(relayKey, { relay, peer, expires: 2_000_000_000_000 });
const reservation = {
  expires: 2_000_000_000_000,
  addresses: [parseMultiaddr(`/ip4/1.2.3.4/udp/4001/quic-v1/p2p/${relay}`)],
  voucher,
};
const limit = { duration: 120, data: 1 << 17 };

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, encodeHop({ type: 1, peer })),
    inChunks(0, encodeHop({ type: 2, reservation, limit, status: 100 })),
    inChunks(1, encodeStop({ type: 0, peer, limit })),
    inChunks(1, encodeStop({ type: 1, status: 203 })),
    inChunks(2, voucher),
  ],
  words: [
    Uint8Array.of(0x12, 38, 0x0a, 36),
    Uint8Array.of(0x1a, 0),
    Uint8Array.of(0x28, 100),
    voucher,
  ],
  maxLength: 4096,
  fuzz: (data) => {
    const [kind] = data;
    const bytes = data.subarray(1);
    try {
      if (kind === 0) {
        const message = decodeHop(bytes);
        check((message.reservation?.addresses.length ?? 0) <= 32, 'addresses are bounded');
        if (message.peer !== undefined)
          check(message.peer.toString().length > 0, 'a peer has a name');
      } else if (kind === 1) decodeStop(bytes);
      else check(openVoucher(bytes).relay.equals(relay), 'nobody else signed it');
    } catch (error) {
      expected(
        error,
        'ERR_PROTOCOL_VIOLATION',
        'ERR_PEER_ID_MALFORMED',
        'ERR_KEY_',
        'ERR_MESSAGE_TOO_LONG',
      );
    }
  },
};
