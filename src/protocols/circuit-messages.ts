/** The messages of circuit relay v2 (libp2p/specs relay/circuit-v2.md, section Protobuf), and vouchers. */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import type { CircuitLimit } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdFromMultihash, peerIdOf } from '../identity/peer-id.ts';
import { openEnvelope, sealEnvelope } from '../identity/signed-envelope.ts';
import { addressOrNothing, readFields, writeBytes, writeVarint } from './fields.ts';

/** The longest message, bytes; go-libp2p's and rust-libp2p's value. */
export const MAX_CIRCUIT_MESSAGE = 4096;
/** The most addresses in a message; further ones are left out. */
const MAX_ADDRESSES = 32;

/** `HopMessage.Type`. */
export const HOP_TYPE = { reserve: 0, connect: 1, status: 2 } as const;
/** `StopMessage.Type`. */
export const STOP_TYPE = { connect: 0, status: 1 } as const;

/** The protobuf enum `Status`, sent by a relay or by the peer behind it. */
export const STATUS = {
  OK: 100,
  RESERVATION_REFUSED: 200,
  RESOURCE_LIMIT_EXCEEDED: 201,
  PERMISSION_DENIED: 202,
  CONNECTION_FAILED: 203,
  NO_RESERVATION: 204,
  MALFORMED_MESSAGE: 400,
  UNEXPECTED_MESSAGE: 401,
} as const;

export type StatusName = keyof typeof STATUS;

/** The name of a status code, such as `NO_RESERVATION`, or `status <number>` for an unknown one. */
export const statusName = (status: number | undefined): string => {
  const [name] = Object.entries(STATUS).find(([, code]) => code === status) ?? [];
  return name ?? `status ${status ?? 'missing'}`;
};

/** Proof that a relay has granted a reservation. */
export interface Voucher {
  readonly relay: PeerId;
  readonly peer: PeerId;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

/** The protobuf message `Reservation`. */
export interface ReservationMessage {
  /** Milliseconds since 1970; seconds on the wire. */
  readonly expires: number;
  /** The relay's addresses, with `/p2p/<relay>`; those that we cannot parse are left out. */
  readonly addresses: readonly Multiaddr[];
  /** A signed envelope; see {@link openVoucher}. */
  readonly voucher: Uint8Array | undefined;
}

/** `HopMessage` and `StopMessage`: the same fields, some with different numbers. Every field may be missing. */
export interface CircuitMessage {
  readonly type: number | undefined;
  readonly peer?: PeerId | undefined;
  readonly reservation?: ReservationMessage | undefined;
  readonly limit?: CircuitLimit | undefined;
  readonly status?: number | undefined;
}

export const encodeHop = (message: CircuitMessage): Uint8Array => encode(message, 4, 5);
export const encodeStop = (message: CircuitMessage): Uint8Array => encode(message, 3, 4);

/** @throws ERR_PROTOCOL_VIOLATION, ERR_PEER_ID_MALFORMED. */
export const decodeHop = (bytes: Uint8Array): CircuitMessage => decode('relay', bytes, 4, 5);
/** @throws as {@link decodeHop}. */
export const decodeStop = (bytes: Uint8Array): CircuitMessage => decode('relay', bytes, 3, 4);

const RESERVATION_FIELD = 3;

const encode = (
  { type = 0, peer, reservation, limit, status }: CircuitMessage,
  limitField: number,
  statusField: number,
): Uint8Array => {
  const writer = new BinaryWriter();
  writeVarint(writer, 1, type);
  if (peer !== undefined) writeBytes(writer, 2, encodePeer(peer));
  if (reservation !== undefined) {
    writeBytes(writer, RESERVATION_FIELD, encodeReservation(reservation));
  }
  if (limit !== undefined) writeBytes(writer, limitField, encodeLimit(limit));
  if (status !== undefined) writeVarint(writer, statusField, status);
  return writer.finish();
};

const decode = (
  what: string,
  bytes: Uint8Array,
  limitField: number,
  statusField: number,
): CircuitMessage => {
  let type: number | undefined;
  let peer: PeerId | undefined;
  let reservation: ReservationMessage | undefined;
  let limit: CircuitLimit | undefined;
  let status: number | undefined;
  readFields(what, bytes, {
    varint: {
      1: (value) => {
        type = value;
      },
      [statusField]: (value) => {
        status = value;
      },
    },
    bytes: {
      2: (value) => {
        peer = decodePeer(what, value);
      },
      ...(limitField !== RESERVATION_FIELD && {
        [RESERVATION_FIELD]: (value: Uint8Array) => {
          reservation = decodeReservation(what, value);
        },
      }),
      [limitField]: (value) => {
        limit = decodeLimit(what, value);
      },
    },
  });
  return { type, peer, reservation, limit, status };
};

const encodePeer = (peer: PeerId): Uint8Array => {
  const writer = new BinaryWriter();
  writeBytes(writer, 1, peer.multihash);
  return writer.finish();
};

const decodePeer = (what: string, bytes: Uint8Array): PeerId | undefined => {
  let peer: PeerId | undefined;
  readFields(what, bytes, {
    bytes: {
      1: (id) => {
        peer = peerIdFromMultihash(id);
      },
    },
  });
  return peer;
};

const encodeLimit = ({ duration, data }: CircuitLimit): Uint8Array => {
  const writer = new BinaryWriter();
  if (duration !== undefined) writeVarint(writer, 1, duration);
  if (data !== undefined) writeVarint(writer, 2, data);
  return writer.finish();
};

/** Zero is no limit on the wire. */
const decodeLimit = (what: string, bytes: Uint8Array): CircuitLimit => {
  let duration = 0;
  let data = 0;
  readFields(what, bytes, {
    varint: {
      1: (value) => {
        duration = value;
      },
      2: (value) => {
        data = value;
      },
    },
  });
  return { ...(duration > 0 && { duration }), ...(data > 0 && { data }) };
};

const encodeReservation = ({ expires, addresses, voucher }: ReservationMessage): Uint8Array => {
  const writer = new BinaryWriter();
  writeVarint(writer, 1, Math.floor(expires / 1000));
  for (const address of addresses.slice(0, MAX_ADDRESSES)) writeBytes(writer, 2, address.bytes);
  if (voucher !== undefined) writeBytes(writer, 3, voucher);
  return writer.finish();
};

const decodeReservation = (what: string, bytes: Uint8Array): ReservationMessage => {
  let expires = 0;
  let voucher: Uint8Array | undefined;
  const addresses: Multiaddr[] = [];
  readFields(what, bytes, {
    varint: {
      1: (value) => {
        expires = value * 1000;
      },
    },
    bytes: {
      2: (value) => {
        const address = addresses.length < MAX_ADDRESSES ? addressOrNothing(value) : undefined;
        if (address !== undefined) addresses.push(address);
      },
      3: (value) => {
        voucher = value;
      },
    },
  });
  return { expires, addresses, voucher };
};

const VOUCHER_DOMAIN = 'libp2p-relay-rsvp';
/** Multicodec 0x0302: as two bytes, as go-libp2p and js-libp2p write it, and as a varint, as the specification says. */
const VOUCHER_TYPES: readonly Uint8Array[] = [Uint8Array.of(3, 2), Uint8Array.of(0x82, 0x06)];

/** Encodes a voucher and signs it. @param hostKey the relay's. @returns a signed envelope (RFC 0002). */
export const sealVoucher = (hostKey: HostKey, { relay, peer, expires }: Voucher): Uint8Array => {
  const writer = new BinaryWriter();
  writeBytes(writer, 1, relay.multihash);
  writeBytes(writer, 2, peer.multihash);
  writeVarint(writer, 3, Math.floor(expires / 1000));
  return sealEnvelope(hostKey, VOUCHER_DOMAIN, VOUCHER_TYPES[0] as Uint8Array, writer.finish());
};

/**
 * Decodes the voucher in a signed envelope and checks that the relay it names has signed it. The caller must check
 * that it names the right relay and peer, and has not expired.
 *
 * @throws ERR_PROTOCOL_VIOLATION, ERR_PEER_ID_MALFORMED; what `openEnvelope` throws.
 */
export const openVoucher = (envelope: Uint8Array): Voucher => {
  const { publicKey, payloadType, payload } = openEnvelope(envelope, VOUCHER_DOMAIN);
  if (!VOUCHER_TYPES.some((type) => Buffer.compare(type, payloadType) === 0)) {
    throw badVoucher('the envelope contains something else');
  }
  let relay: PeerId | undefined;
  let peer: PeerId | undefined;
  let expires = 0;
  readFields('relay', payload, {
    varint: {
      3: (value) => {
        expires = value * 1000;
      },
    },
    bytes: {
      1: (value) => {
        relay = peerIdFromMultihash(value);
      },
      2: (value) => {
        peer = peerIdFromMultihash(value);
      },
    },
  });
  if (relay === undefined || peer === undefined) throw badVoucher('it names no relay or no peer');
  const signer = peerIdOf(publicKey);
  if (!signer.equals(relay))
    throw badVoucher(`it names the relay ${relay}, but ${signer} signed it`);
  return { relay, peer, expires };
};

export const badVoucher = (why: string): LeanError =>
  new LeanError('ERR_PROTOCOL_VIOLATION', `relay: the voucher is invalid: ${why}`);
