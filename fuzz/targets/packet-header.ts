/** The headers of QUIC packets as far as the quiche engine reads them, and its Retry tokens. */

import { parseLongHeader } from '../../src/quic/quiche/packet-header.ts';
import { retryTokens } from '../../src/quic/quiche/retry-token.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check } from '../support/expect.ts';

const tokens = retryTokens();
const REMOTE = { host: '127.0.0.1', port: 4001 };
const genuine = tokens.issue(REMOTE, new Uint8Array(8));

const initial = (token: Uint8Array): Uint8Array =>
  Buffer.concat([
    Uint8Array.of(0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 4, 1, 2, 3, 4),
    Uint8Array.of(0x40 | (token.length >> 8), token.length),
    token,
    new Uint8Array(32),
  ]);

export const target: FuzzTarget = {
  seeds: () => [
    initial(new Uint8Array(0)),
    initial(genuine),
    Uint8Array.of(0x80, 0x1a, 0x2a, 0x3a, 0x4a, 0, 0),
    Uint8Array.of(0xe0, 0, 0, 0, 1, 20, ...new Uint8Array(20), 20, ...new Uint8Array(20)),
  ],
  words: [Uint8Array.of(0, 0, 0, 1), Uint8Array.of(0xbf, 0xff, 0xff, 0xff), genuine],
  fuzz: (data) => {
    const packet = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const header = parseLongHeader(packet);
    if (header === undefined) return;
    const { dcid, scid, token } = header;
    check(dcid.length <= 20 && scid.length <= 20, 'connection ids are at most 20 bytes long');
    check(dcid.length + scid.length + token.length + 7 <= data.length, 'nothing is made up');
    const original = tokens.open(REMOTE, token);
    check(original === undefined || original.length === 8, 'no token is forged');
  },
};
