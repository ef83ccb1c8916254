/**
 * The version-independent part of a QUIC packet header (RFC 8999, RFC 9000 section 17.2), as far as
 * routing needs it. Everything behind it is encrypted and quiche's to read.
 */

export interface LongHeader {
  readonly version: number;
  readonly dcid: Uint8Array;
  readonly scid: Uint8Array;
  /** Only an Initial opens a connection. */
  readonly initial: boolean;
  /** The Retry token of an Initial; empty when there is none. */
  readonly token: Uint8Array;
}

/** Connection ids are at most this long in QUIC v1 (RFC 9000 section 17.2). */
const MAX_CID = 20;
/** Room for our retry tokens and for those of NEW_TOKEN that clients may still hold. */
const MAX_TOKEN = 512;

export const isLongHeader = (packet: Uint8Array): boolean => ((packet[0] ?? 0) & 0x80) !== 0;

/** Parses a long header; `undefined` for anything malformed, to be dropped silently. */
export const parseLongHeader = (packet: Buffer): LongHeader | undefined => {
  if (packet.length < 7 || !isLongHeader(packet)) return undefined;
  const version = packet.readUInt32BE(1);
  const dcidLength = packet[5] as number;
  const scidAt = 6 + dcidLength;
  if (dcidLength > MAX_CID || packet.length <= scidAt) return undefined;
  const scidLength = packet[scidAt] as number;
  const end = scidAt + 1 + scidLength;
  if (scidLength > MAX_CID || packet.length < end) return undefined;
  const initial = ((packet[0] as number) & 0x30) === 0 && version === 1;
  let token: Uint8Array = packet.subarray(end, end);
  if (initial) {
    const length = varintAt(packet, end);
    if (length === undefined || length.value > MAX_TOKEN) return undefined;
    if (packet.length < length.end + length.value) return undefined;
    token = packet.subarray(length.end, length.end + length.value);
  }
  return {
    version,
    dcid: packet.subarray(6, scidAt),
    scid: packet.subarray(scidAt + 1, end),
    initial,
    token,
  };
};

/** A QUIC varint (RFC 9000 section 16) of at most 4 bytes; `undefined` when longer or cut off. */
const varintAt = (packet: Buffer, at: number): { value: number; end: number } | undefined => {
  const first = packet[at];
  if (first === undefined) return undefined;
  const length = 1 << (first >> 6);
  if (length > 4 || packet.length < at + length) return undefined;
  const value = packet.readUIntBE(at, length) % 2 ** (8 * length - 2);
  return { value, end: at + length };
};
