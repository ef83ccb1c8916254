/** Reads and writes protobuf messages field by field; there are too few, and too small ones, to generate code for. */

import { BinaryReader, type BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Multiaddr } from '@multiformats/multiaddr';
import { isLeanError, LeanError } from '../errors.ts';
import { decodeMultiaddr } from '../multiaddr.ts';

/** Callbacks by field number, called for every occurrence. Fields of other numbers or wire types are skipped. */
export interface FieldReaders {
  readonly varint?: Readonly<Record<number, (value: number) => void>>;
  readonly bytes?: Readonly<Record<number, (value: Uint8Array) => void>>;
  readonly fixed64?: Readonly<Record<number, (value: bigint) => void>>;
}

/**
 * Reads `message`. No callback is called unless all of it could be parsed.
 *
 * @param what names the protocol in error messages.
 * @throws ERR_PROTOCOL_VIOLATION when it is not a protobuf message; what the callbacks throw.
 */
export const readFields = (what: string, message: Uint8Array, readers: FieldReaders): void => {
  const found: (() => void)[] = [];
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      const onVarint = readers.varint?.[field];
      const onBytes = readers.bytes?.[field];
      const onFixed64 = readers.fixed64?.[field];
      if (onVarint !== undefined && wireType === WireType.Varint) {
        // Clamped to what a number holds exactly.
        const value = Math.min(Number(reader.uint64()), Number.MAX_SAFE_INTEGER);
        found.push(() => onVarint(value));
      } else if (onBytes !== undefined && wireType === WireType.LengthDelimited) {
        const value = reader.bytes();
        found.push(() => onBytes(value));
      } else if (onFixed64 !== undefined && wireType === WireType.Bit64) {
        const value = BigInt(reader.fixed64());
        found.push(() => onFixed64(value));
      } else reader.skip(wireType, field);
    }
  } catch (cause) {
    throw new LeanError('ERR_PROTOCOL_VIOLATION', `${what}: the peer sent a malformed message`, {
      cause,
    });
  }
  for (const call of found) call();
};

export const writeVarint = (writer: BinaryWriter, field: number, value: number): void => {
  writer.tag(field, WireType.Varint).uint64(value);
};

export const writeBytes = (writer: BinaryWriter, field: number, value: Uint8Array): void => {
  writer.tag(field, WireType.LengthDelimited).bytes(value);
};

export const writeFixed64 = (writer: BinaryWriter, field: number, value: bigint): void => {
  writer.tag(field, WireType.Bit64).fixed64(value);
};

/** The multiaddr in a field; `undefined` for one that cannot be parsed: peers know transports that we do not. */
export const addressOrNothing = (bytes: Uint8Array): Multiaddr | undefined => {
  try {
    return decodeMultiaddr(bytes);
  } catch (error) {
    if (isLeanError(error, 'ERR_ADDRESS')) return undefined;
    throw error;
  }
};
