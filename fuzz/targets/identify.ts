/** Identify's answer (src/protocols/identify.ts), length prefixes and all. */

import { hostKeyFromSeed } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { parseMultiaddr } from '../../src/multiaddr.ts';
import { decodeIdentify, encodeIdentify, readIdentify } from '../../src/protocols/identify.ts';
import { encodeVarint } from '../../src/stream/bytes.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

const { publicKey } = hostKeyFromSeed(new Uint8Array(32));
const peer = peerIdOf(publicKey);
const message = encodeIdentify({
  publicKey: publicKey.protobuf,
  listenAddrs: [
    '/ip4/1.2.3.4/udp/4001/quic-v1',
    '/ip6/::1/tcp/1/ws',
    `/dns4/a.b/tcp/443/tls/ws/p2p/${peer}`,
  ].map(parseMultiaddr),
  observedAddr: parseMultiaddr('/ip4/1.2.3.4/tcp/5'),
  protocols: ['/ipfs/ping/1.0.0', '/ipfs/id/1.0.0'],
  agentVersion: 'x/1',
  protocolVersion: 'ipfs/0.1.0',
});

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, encodeVarint(message.length), message),
    inChunks(7, encodeVarint(message.length), message, Uint8Array.of(0)),
    inChunks(1, Uint8Array.of(3, 0x3a, 1, 0x78)),
  ],
  words: [
    Uint8Array.of(0x0a, 36),
    Uint8Array.of(0x12, 8),
    Uint8Array.of(0x1a, 0),
    Uint8Array.of(0x43),
  ],
  maxLength: 16_384,
  fuzz: async (data) => {
    try {
      const info = await readIdentify(pipeOf(chunksOf(data)), peer);
      const again = decodeIdentify(encodeIdentify(info));
      check(again.listenAddrs.length === info.listenAddrs.length, 'addresses read back');
      check(again.protocols.length === info.protocols.length, 'protocols read back');
    } catch (error) {
      expected(
        error,
        'ERR_PROTOCOL_VIOLATION',
        'ERR_EOF',
        'ERR_MESSAGE_TOO_LONG',
        'ERR_PEER_ID_MISMATCH',
        'ERR_KEY_',
      );
    }
  },
};
