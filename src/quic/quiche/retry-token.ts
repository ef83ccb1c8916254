/**
 * Retry tokens (RFC 9000 section 8.1.2): proof that a client receives at the address it claims,
 * without any state here. A token is `expiry ‖ original DCID ‖ HMAC-SHA256 over both and the address`.
 */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { SocketAddress } from '../../socket-address.ts';

/** How long a client may take to come back with its token; milliseconds. */
const LIFETIME = 10_000;
const MAC_LENGTH = 32;

export interface RetryTokens {
  /** A token for the client at `remote` whose first packet carried `originalDcid`. */
  issue(remote: SocketAddress, originalDcid: Uint8Array): Uint8Array;
  /** The original DCID, or `undefined` when the token is not ours, not for `remote` or too old. */
  open(remote: SocketAddress, token: Uint8Array): Uint8Array | undefined;
}

/** @param now milliseconds since the epoch, for tests. */
export const retryTokens = (now: () => number = Date.now): RetryTokens => {
  const secret = randomBytes(32);
  const mac = (remote: SocketAddress, body: Uint8Array): Buffer =>
    createHmac('sha256', secret).update(`${remote.host} ${remote.port} `).update(body).digest();
  return {
    issue(remote, originalDcid) {
      const body = Buffer.alloc(6 + originalDcid.length);
      body.writeUIntBE(now() + LIFETIME, 0, 6);
      body.set(originalDcid, 6);
      return Buffer.concat([body, mac(remote, body)]);
    },
    open(remote, token) {
      if (token.length < 6 + MAC_LENGTH || token.length > 6 + 20 + MAC_LENGTH) return undefined;
      const body = Buffer.from(token.subarray(0, token.length - MAC_LENGTH));
      if (!timingSafeEqual(mac(remote, body), token.subarray(body.length))) return undefined;
      return body.readUIntBE(0, 6) < now() ? undefined : body.subarray(6);
    },
  };
};
