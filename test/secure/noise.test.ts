/** The Noise channel over real sockets: its messages, and peers that do not keep to them. */

import assert from 'node:assert/strict';
import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { isLeanError, LeanError } from '../../src/errors.ts';
import { generateHostKey, type PublicKey } from '../../src/identity/keys.ts';
import { type PeerId, peerIdOf } from '../../src/identity/peer-id.ts';
import { createNoiseIdentity, secureWithNoise } from '../../src/secure/noise.ts';
import { encodePayload } from '../../src/secure/noise-payload.ts';
import {
  type CipherState,
  generateNoiseKeyPair,
  startHandshake,
} from '../../src/secure/noise-state.ts';
import { concat, readExactly, writeAll } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import type { Wire } from '../../src/wire/wire.ts';
import { socketPair } from '../support/mux-pair.ts';
import { hashAll, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const EMPTY = new Uint8Array(0);
const MUXERS = ['/yamux/1.0.0', '/mplex/6.7.0'];
const [ours, theirs] = [generateHostKey(), generateHostKey()];
const [ourPeer, theirPeer] = [peerIdOf(ours.publicKey), peerIdOf(theirs.publicKey)];
const frame = (message: Uint8Array): Buffer =>
  Buffer.concat([Uint8Array.of(message.length >> 8, message.length & 255), message]);

const wires = async (t: TestContext): Promise<[Wire, Socket, Wire, Socket]> => {
  const [left, right] = await socketPair();
  t.after(() => {
    left.destroy();
    right.destroy();
  });
  return [socketWire(left, 'left'), left, socketWire(right, 'right'), right];
};

const dialNoise = (wire: Wire, expectedPeer?: PeerId, muxers: readonly string[] = MUXERS) =>
  secureWithNoise(wire, wire, createNoiseIdentity(ours, muxers), {
    role: 'dialer',
    expectedPeer,
    muxers,
  });
const acceptNoise = (wire: Wire, muxers: readonly string[] = MUXERS) =>
  secureWithNoise(wire, wire, createNoiseIdentity(theirs, muxers), {
    role: 'listener',
    expectedPeer: undefined,
    muxers,
  });

const connect = async (t: TestContext) => {
  const [left, , right, rightSocket] = await wires(t);
  const [dialed, accepted] = await Promise.all([dialNoise(left, theirPeer), acceptNoise(right)]);
  return { dialed, accepted, rightSocket };
};

/** What a peer of ours is up against: the state machine on a bare wire. */
interface RawPeer {
  readonly wire: Wire;
  readonly socket: Socket;
  readonly receive: () => Promise<Uint8Array>;
}
const rawPeer = (wire: Wire, socket: Socket): RawPeer => ({
  wire,
  socket,
  receive: async () => {
    const prefix = await readExactly(wire, 2);
    return readExactly(wire, Buffer.from(prefix).readUInt16BE());
  },
});

/** An honest dialer up to its last message, which `payload` makes. */
const rawDial = async (peer: RawPeer, payload: (staticKey: Uint8Array) => Uint8Array) => {
  const staticKey = generateNoiseKeyPair();
  const handshake = startHandshake({ initiator: true, staticKey });
  peer.wire.write(frame(handshake.write(EMPTY)));
  handshake.read(await peer.receive());
  peer.wire.write(frame(handshake.write(payload(staticKey.publicKey))));
  return handshake.finish();
};
const honest = (staticKey: Uint8Array) => encodePayload(ours, staticKey, MUXERS);
const sealed = (cipher: CipherState, plain: Uint8Array): Uint8Array =>
  frame(concat(cipher.seal(EMPTY, [plain])));

describe('the Noise channel', SUITE, () => {
  test('proves both peers and agrees on a muxer', async (t) => {
    const { dialed, accepted } = await connect(t);
    assert(dialed.remotePeer.equals(theirPeer));
    assert(accepted.remotePeer.equals(ourPeer));
    assert.deepEqual([dialed.muxer, accepted.muxer], ['/yamux/1.0.0', '/yamux/1.0.0']);
  });

  test('the dialer’s order of muxers counts', async (t) => {
    const [left, , right] = await wires(t);
    const [dialed, accepted] = await Promise.all([
      dialNoise(left, undefined, ['/mplex/6.7.0', '/yamux/1.0.0']),
      acceptNoise(right),
    ]);
    assert.deepEqual([dialed.muxer, accepted.muxer], ['/mplex/6.7.0', '/mplex/6.7.0']);
  });

  test('no common muxer: both sides say so', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = rejection(acceptNoise(right, ['/mplex/6.7.0']));
    const error = await rejection(dialNoise(left, undefined, ['/yamux/1.0.0']));
    assert(isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(error));
    leftSocket.destroy();
    await accepting;
  });

  test('a peer that names no muxers: none is agreed on', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = acceptNoise(right);
    await rawDial(rawPeer(left, leftSocket), (key) => encodePayload(ours, key, []));
    assert.equal((await accepting).muxer, undefined);
  });

  test('another peer than the one dialled is refused', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = rejection(acceptNoise(right));
    const error = await rejection(dialNoise(left, ourPeer));
    assert(isLeanError(error, 'ERR_PEER_ID_MISMATCH'));
    leftSocket.destroy();
    assert(isLeanError(await accepting, 'ERR_EOF') || (await accepting) instanceof LeanError);
  });

  test('bytes of all sizes arrive in order, both ways at once', async (t) => {
    const { dialed, accepted } = await connect(t);
    const data = randomBytes(6_000_000);
    const write = async (wire: Stream): Promise<void> => {
      const sizes = [1, 2, 100, 2_047, 2_048, 65_518, 65_519, 65_520, 200_000, 7];
      for (let at = 0, i = 0; at < data.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        await writeAll(wire, data.subarray(at, at + size));
        at += size;
      }
      wire.closeWrite();
    };
    const expected = createHash('sha256').update(data).digest('hex');
    const [, , first, second] = await Promise.all([
      write(dialed.wire),
      write(accepted.wire),
      hashAll(accepted.wire),
      hashAll(dialed.wire),
    ]);
    assert.deepEqual([first, second], [expected, expected]);
  });

  test('small writes of one turn leave as one message', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = acceptNoise(right);
    const peer = rawPeer(left, leftSocket);
    await rawDial(peer, honest);
    const { wire } = await accepting;
    for (let i = 0; i < 100; i++) wire.write(randomBytes(10));
    assert.equal((await peer.receive()).length, 1_000 + 16);
  });

  test('messages are understood in whatever pieces they come', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = acceptNoise(right);
    const { send } = await rawDial(rawPeer(left, leftSocket), honest);
    const { wire } = await accepting;
    const messages = Buffer.concat(
      ['a', '', 'bcd', 'e'.repeat(50)].map((it) => sealed(send, Buffer.from(it))),
    );
    for (const byte of messages) {
      leftSocket.write(Uint8Array.of(byte));
      await new Promise((go) => setImmediate(go));
    }
    leftSocket.end();
    assert.equal(String(await readAll(wire)), `abcd${'e'.repeat(50)}`);
  });
});

describe('a hostile Noise dialer', SUITE, () => {
  const garbage: readonly [string, Uint8Array][] = [
    [
      'HTTP instead of a message',
      Buffer.from('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n'.repeat(3_000)),
    ],
    ['an empty message', Uint8Array.of(0, 0)],
    ['a message that is too short', frame(randomBytes(31))],
    ['a key of low order', frame(new Uint8Array(32))],
  ];
  for (const [name, bytes] of garbage) {
    test(`sends ${name}`, async (t) => {
      const [, leftSocket, right] = await wires(t);
      leftSocket.write(bytes);
      leftSocket.on('data', () => {
        leftSocket.write(frame(randomBytes(200)));
      });
      const error = await rejection(acceptNoise(right));
      assert(isLeanError(error, 'ERR_HANDSHAKE'), String(error));
    });
  }

  test('leaves in the middle of a message', async (t) => {
    const [, leftSocket, right] = await wires(t);
    leftSocket.end(Uint8Array.of(0, 32, 1, 2, 3));
    assert(isLeanError(await rejection(acceptNoise(right)), 'ERR_EOF'));
  });

  /** RSA of 3,072 bits, with an exponent of almost as many. */
  const slowRsa = (): PublicKey => {
    const number = (bytes: number, fill: number) => Buffer.alloc(bytes, fill).toString('base64url');
    const key = { kty: 'RSA', n: number(384, 0xff), e: number(384, 0x7f) };
    const data = createPublicKey({ key, format: 'jwk' }).export({ format: 'der', type: 'spki' });
    const writer = new BinaryWriter().tag(1, 0).uint32(0).tag(2, 2).bytes(data);
    return { type: 'RSA', data, protobuf: writer.finish() };
  };
  const SLOW_RSA = slowRsa();
  const stranger = generateHostKey();
  const payloads: readonly [string, (staticKey: Uint8Array) => Uint8Array, RegExp][] = [
    ['an empty payload', () => EMPTY, /public key/],
    ['garbage as payload', () => randomBytes(60), /payload|public key/],
    ['a payload for another static key', () => honest(randomBytes(32)), /did not sign/],
    [
      'a host key that takes long to verify',
      (key) => encodePayload({ ...ours, publicKey: SLOW_RSA }, key, MUXERS),
      /public exponent/,
    ],
    [
      'a payload signed by another host key',
      (key) => encodePayload({ ...ours, sign: (message) => stranger.sign(message) }, key, MUXERS),
      /did not sign/,
    ],
  ];
  for (const [name, payload, reason] of payloads) {
    test(`sends ${name}`, async (t) => {
      const [left, leftSocket, right] = await wires(t);
      const accepting = rejection(acceptNoise(right));
      await rawDial(rawPeer(left, leftSocket), payload);
      const error = await accepting;
      assert(error instanceof LeanError, String(error));
      assert.match(error.message, reason);
    });
  }

  test('repeats its first message as its second', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = rejection(acceptNoise(right));
    const peer = rawPeer(left, leftSocket);
    const first = frame(
      startHandshake({ initiator: true, staticKey: generateNoiseKeyPair() }).write(EMPTY),
    );
    left.write(first);
    await peer.receive();
    left.write(first);
    assert(isLeanError(await accepting, 'ERR_HANDSHAKE'));
  });

  const transport: readonly [string, (cipher: CipherState) => Uint8Array, RegExp][] = [
    [
      'a message twice',
      (cipher) => {
        const message = sealed(cipher, Buffer.from('once'));
        return Buffer.concat([message, message]);
      },
      /not authentic/,
    ],
    ['plaintext', () => frame(Buffer.from('this is not encrypted at all')), /not authentic/],
    ['a message without room for a tag', () => frame(randomBytes(15)), /has no tag/],
    [
      'an altered message',
      (cipher) => {
        const message = sealed(cipher, Buffer.from('altered'));
        message[5] = (message[5] ?? 0) ^ 4;
        return message;
      },
      /not authentic/,
    ],
  ];
  for (const [name, attack, reason] of transport) {
    test(`sends ${name} after the handshake`, async (t) => {
      const [left, leftSocket, right] = await wires(t);
      const accepting = acceptNoise(right);
      const { send } = await rawDial(rawPeer(left, leftSocket), honest);
      const { wire } = await accepting;
      leftSocket.write(Buffer.concat([sealed(send, Buffer.from('good')), attack(send)]));
      assert.equal(String(Buffer.from(await readExactly(wire, 4))), 'good');
      const reading = async (): Promise<void> => {
        for (;;) await wire.read();
      };
      const error = await rejection(reading());
      assert(isLeanError(error, 'ERR_PROTOCOL_VIOLATION'), String(error));
      assert.match(error.message, reason);
      assert(isLeanError(await rejection(wire.read()), 'ERR_PROTOCOL_VIOLATION'));
    });
  }

  test('cuts the last message: that is no end of the stream', async (t) => {
    const [left, leftSocket, right] = await wires(t);
    const accepting = acceptNoise(right);
    const { send } = await rawDial(rawPeer(left, leftSocket), honest);
    const { wire } = await accepting;
    leftSocket.end(sealed(send, Buffer.from('truncated')).subarray(0, 12));
    assert(isLeanError(await rejection(wire.read()), 'ERR_EOF'));
  });
});
