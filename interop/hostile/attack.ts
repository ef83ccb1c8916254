/** What an attack is given, and what several attacks share. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly multiaddr: string;
  /** Counts what was done, for the report. */
  count(what: string, by?: number): void;
}

/** Resolves when it is done; it keeps its connections until the process ends. */
export type Attacks = Readonly<Record<string, (target: Target) => Promise<void>>>;

/** Calls `act` `count` times, at most `rate` times a second. */
export const pace = async (
  times: number,
  rate: number,
  act: (n: number) => void,
): Promise<void> => {
  const began = performance.now();
  for (let n = 0; n < times; ) {
    const due = Math.min(times, Math.ceil(((performance.now() - began) / 1_000) * rate) + 1);
    for (; n < due; n++) act(n);
    await delay(5);
  }
};

/** Repeats `act`, `width` at a time; an error counts as an answer. */
export const repeat = (
  target: Target,
  what: string,
  width: number,
  act: (n: number) => Promise<unknown>,
): Promise<unknown> => {
  let n = 0;
  const lane = async (): Promise<void> => {
    for (;;) {
      await act(n++).then(
        () => target.count(what),
        () => target.count(`${what}, refused`),
      );
      await delay(1);
    }
  };
  return Promise.all(Array.from({ length: width }, lane));
};

/** Malformed and oversize multistream-select messages. */
export const MULTISTREAM_MESSAGES: readonly Uint8Array[] = [
  // Lengths of 2^63 and more, and a varint that does not end.
  Buffer.from('ffffffffffffffff7f', 'hex'),
  Buffer.from('ffffffffffffffffff01', 'hex'),
  Buffer.alloc(1 << 20, 0xff),
  // A message of 1 MiB, and a megabyte of lines.
  Buffer.concat([Buffer.from('808040', 'hex'), Buffer.alloc(1 << 20, 0x61)]),
  Buffer.alloc(1 << 20, '\x01\n'),
  Buffer.from('\x13/multistream/1.0.0\n'),
  // A million proposals of an unknown protocol.
  Buffer.concat([Buffer.from('\x13/multistream/1.0.0\n'), Buffer.alloc(1 << 20, '\x05/nix\n')]),
  Buffer.concat([Buffer.from('\x13/multistream/1.0.0\n'), Buffer.alloc(1 << 20, '\x03ls\n')]),
  Buffer.from('\x13/multistream/9.9.9\n'),
  Buffer.alloc(64),
];
