/**
 * Noise messages after the handshake (src/secure/noise-wire.ts). Nobody guesses a tag, so the fuzzer plays a peer
 * that has the key. The input is a list of messages, two bytes of length and a plaintext each, which are
 * sealed; what has a length above 0x7fff goes out as it is.
 */

import { cipherState } from '../../src/secure/noise-state.ts';
import { noiseWire } from '../../src/secure/noise-wire.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected, sameBytes } from '../support/expect.ts';
import { chunksOf, inChunks, pipeOf } from '../support/pipe.ts';

const EMPTY = new Uint8Array(0);
const KEY = new Uint8Array(32).fill(7);

const framed = (...parts: readonly Uint8Array[]): Uint8Array => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of(body.length >> 8, body.length), body]);
};

interface Message {
  readonly sealed: boolean;
  readonly body: Uint8Array;
}

const messagesOf = (bytes: Uint8Array): Message[] => {
  const messages: Message[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const head = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    const body = bytes.subarray(at + 2, at + 2 + (head & 0x7fff));
    messages.push({ sealed: head < 0x8000, body });
    at += 2 + body.length;
  }
  return messages;
};

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, framed(Buffer.from('hello')), framed(EMPTY), framed(new Uint8Array(300))),
    inChunks(1, framed(Buffer.from('a')), framed(Buffer.from('b'))),
    inChunks(17, framed(new Uint8Array(40)), Uint8Array.of(0x80, 3, 0, 3, 1)),
    inChunks(0, Uint8Array.of(0x80, 18, 0, 16), new Uint8Array(16)),
  ],
  words: [framed(EMPTY), Uint8Array.of(0x80, 2, 0xff, 0xff), framed(new Uint8Array(20))],
  maxLength: 4096,
  fuzz: async (data) => {
    const messages = messagesOf(data.subarray(1));
    const peer = cipherState(KEY);
    const sealed = messages.map((it) =>
      it.sealed ? framed(...peer.seal(EMPTY, [it.body])) : it.body,
    );
    const pipe = pipeOf(chunksOf(inChunks(data[0] ?? 0, ...sealed)));
    const wire = noiseWire(pipe, pipe, cipherState(KEY), cipherState(KEY));
    const bad = messages.some(({ sealed, body }) => !sealed && body.length > 0);
    const plain: Uint8Array[] = [];
    try {
      for await (const chunk of wire) plain.push(chunk);
      check(!bad, 'what is not authentic does not get through');
      const sent = messages.map((it) => it.body);
      check(sameBytes(Buffer.concat(plain), Buffer.concat(sent)), 'what was sealed comes out');
    } catch (error) {
      expected(error, 'ERR_PROTOCOL_VIOLATION', 'ERR_EOF');
      check(bad, 'what is well-formed does not fail');
    }
  },
};
