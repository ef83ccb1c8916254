/**
 * What a listener does with a packet that belongs to no connection, before it keeps any state: it drops the packet,
 * answers it (Version Negotiation, Retry), or begins a connection.
 */

import { randomBytes } from 'node:crypto';
import type { SocketAddress } from '../../socket-address.ts';
import { isAnswerable } from '../answerable.ts';
import type { Quiche } from './binding.ts';
import { BASE_DATAGRAM } from './datagram-size.ts';
import { parseLongHeader } from './packet-header.ts';
import type { RetryTokens } from './retry-token.ts';

/** Length of our connection ids; the listener finds connections by it. */
export const CID_LENGTH = 16;
/** A client's first packet is at least this long (RFC 9000 section 14.1). */
const MIN_INITIAL = 1200;

/** `undefined`: the packet is dropped. */
export type FirstPacket =
  | { readonly reply: Uint8Array }
  | {
      /** The client's first Destination Connection ID. */
      readonly dcid: Buffer;
      /** Our connection id. */
      readonly scid: Buffer;
      /** The client's Destination Connection ID before a Retry; `undefined` if there was none. */
      readonly original: Uint8Array | undefined;
    }
  | undefined;

/** @param mustRetry whether the client must validate its address first (RFC 9000 section 8.1.2). */
export const examineFirstPacket = (
  quiche: Quiche,
  tokens: RetryTokens,
  packet: Buffer,
  from: SocketAddress,
  mustRetry: boolean,
): FirstPacket => {
  const header = parseLongHeader(packet);
  if (header === undefined || packet.length < MIN_INITIAL) return undefined;
  if (!isAnswerable(from.host, from.port)) return undefined;
  const { scid, dcid, version } = header;
  if (!quiche.versionIsSupported(version)) {
    if (version === 0) return undefined;
    return replyOf((out) => quiche.negotiateVersion(scid, dcid, out));
  }
  if (!header.initial || dcid.length < 8) return undefined;
  const original =
    header.token.length > 0 && dcid.length === CID_LENGTH
      ? tokens.open(from, header.token)
      : undefined;
  if (original === undefined && mustRetry) {
    const token = tokens.issue(from, dcid);
    return replyOf((out) => quiche.retry(scid, dcid, randomBytes(CID_LENGTH), token, version, out));
  }
  return {
    dcid: Buffer.from(dcid),
    // After a Retry, the client uses the connection id that we chose in it.
    scid: original === undefined ? randomBytes(CID_LENGTH) : Buffer.from(dcid),
    original,
  };
};

/** The packet that `write` writes, of which it returns the length. */
const replyOf = (write: (out: Uint8Array) => number): FirstPacket => {
  const out = Buffer.allocUnsafeSlow(BASE_DATAGRAM);
  return { reply: out.subarray(0, write(out)) };
};
