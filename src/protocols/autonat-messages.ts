/** The messages of AutoNAT v2 (libp2p/specs autonat/autonat-v2.md, section RPC Messages). */

import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError } from '../errors.ts';
import { addressOrNothing, readFields, writeBytes, writeFixed64, writeVarint } from './fields.ts';

/** The longest message, bytes; go-libp2p's value. */
export const MAX_AUTONAT_MESSAGE = 8192;
/** The longest message on a dial-back stream, bytes. */
export const MAX_DIAL_BACK_MESSAGE = 1024;
/** Addresses of a request that are read; further ones are ignored. go-libp2p's value. */
export const MAX_AUTONAT_ADDRESSES = 50;
/** Bytes of dial data in one message that we send. */
const MAX_DATA = 4096;

/** The server's result for the request: the protobuf enum `ResponseStatus`. */
export const RESPONSE_STATUS = {
  E_INTERNAL_ERROR: 0,
  E_REQUEST_REJECTED: 100,
  E_DIAL_REFUSED: 101,
  OK: 200,
} as const;

/** The server's result for the address that it dialled: the protobuf enum `DialStatus`. */
export const DIAL_STATUS = {
  E_DIAL_ERROR: 100,
  E_DIAL_BACK_ERROR: 101,
  OK: 200,
} as const;

export interface DialRequest {
  /** In order of preference; `undefined` for those that we cannot parse, as the server answers by index. */
  readonly addresses: readonly (Multiaddr | undefined)[];
  /** 64 bits. */
  readonly nonce: bigint;
}

export interface DialResponse {
  /** One of {@link RESPONSE_STATUS}, or unknown. */
  readonly status: number;
  /** The address that was dialled, by its index in the request. */
  readonly addressIndex: number;
  /** One of {@link DIAL_STATUS}, or unknown; 0 if nothing was dialled. */
  readonly dialStatus: number;
}

/** The server asks for data before it dials. */
export interface DialDataRequest {
  /** The address that it would dial, by its index in the request. */
  readonly addressIndex: number;
  /** How many bytes it asks for. */
  readonly bytes: number;
}

/** A message of a dial-request stream; exactly one of the fields is set. */
export interface AutonatMessage {
  readonly request?: DialRequest;
  readonly response?: DialResponse;
  readonly dataRequest?: DialDataRequest;
  /** The length of the dial data, bytes. */
  readonly dialData?: number;
}

export const encodeDialRequest = ({ addresses, nonce }: DialRequest): Uint8Array => {
  const inner = new BinaryWriter();
  for (const address of addresses) if (address !== undefined) writeBytes(inner, 1, address.bytes);
  writeFixed64(inner, 2, nonce);
  return message(1, inner);
};

export const encodeDialResponse = (response: DialResponse): Uint8Array => {
  const inner = new BinaryWriter();
  writeVarint(inner, 1, response.status);
  writeVarint(inner, 2, response.addressIndex);
  writeVarint(inner, 3, response.dialStatus);
  return message(2, inner);
};

export const encodeDataRequest = ({ addressIndex, bytes }: DialDataRequest): Uint8Array => {
  const inner = new BinaryWriter();
  writeVarint(inner, 1, addressIndex);
  writeVarint(inner, 2, bytes);
  return message(3, inner);
};

/** Messages that carry `bytes` bytes of dial data, all zero. */
export function* encodeDialData(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= MAX_DATA) {
    const inner = new BinaryWriter();
    writeBytes(inner, 1, new Uint8Array(Math.min(left, MAX_DATA)));
    yield message(4, inner);
  }
}

const message = (field: number, inner: BinaryWriter): Uint8Array => {
  const writer = new BinaryWriter();
  writeBytes(writer, field, inner.finish());
  return writer.finish();
};

const WHAT = 'autonat';

/** Decodes a message of a dial-request stream. @throws ERR_PROTOCOL_VIOLATION. */
export const decodeAutonat = (bytes: Uint8Array): AutonatMessage => {
  let decoded: AutonatMessage | undefined;
  readFields(WHAT, bytes, {
    bytes: {
      1: (value) => {
        decoded = { request: decodeRequest(value) };
      },
      2: (value) => {
        const [status, addressIndex, dialStatus] = decodeNumbers(value, 3);
        decoded = { response: { status, addressIndex, dialStatus } };
      },
      3: (value) => {
        const [addressIndex, wanted] = decodeNumbers(value, 2);
        decoded = { dataRequest: { addressIndex, bytes: wanted } };
      },
      4: (value) => {
        let dialData = 0;
        readFields(WHAT, value, {
          bytes: {
            1: (data) => {
              dialData = data.length;
            },
          },
        });
        decoded = { dialData };
      },
    },
  });
  if (decoded === undefined) {
    throw new LeanError('ERR_PROTOCOL_VIOLATION', 'autonat: the peer sent an unknown message');
  }
  return decoded;
};

const decodeRequest = (bytes: Uint8Array): DialRequest => {
  const addresses: (Multiaddr | undefined)[] = [];
  let nonce = 0n;
  readFields(WHAT, bytes, {
    bytes: {
      1: (value) => {
        if (addresses.length < MAX_AUTONAT_ADDRESSES) addresses.push(addressOrNothing(value));
      },
    },
    fixed64: {
      2: (value) => {
        nonce = value;
      },
    },
  });
  return { addresses, nonce };
};

/** The values of fields 1 to `count`, each a varint; 0 for a missing one. */
const decodeNumbers = <Count extends 2 | 3>(bytes: Uint8Array, count: Count) => {
  const numbers: number[] = new Array(count).fill(0);
  const varint = Object.fromEntries(
    numbers.map((_, i) => [
      i + 1,
      (value: number) => {
        numbers[i] = value;
      },
    ]),
  );
  readFields(WHAT, bytes, { varint });
  return numbers as unknown as Count extends 3 ? [number, number, number] : [number, number];
};

export const encodeDialBack = (nonce: bigint): Uint8Array => {
  const writer = new BinaryWriter();
  writeFixed64(writer, 1, nonce);
  return writer.finish();
};

/** The nonce in a `DialBack` message. @throws ERR_PROTOCOL_VIOLATION. */
export const decodeDialBack = (bytes: Uint8Array): bigint => {
  let nonce: bigint | undefined;
  readFields(WHAT, bytes, {
    fixed64: {
      1: (value) => {
        nonce = value;
      },
    },
  });
  if (nonce === undefined) {
    throw new LeanError('ERR_PROTOCOL_VIOLATION', 'autonat: a dial-back without a nonce');
  }
  return nonce;
};

/** `DialBackResponse`: its status OK is 0, which is not encoded. */
export const DIAL_BACK_OK = new Uint8Array(0);
