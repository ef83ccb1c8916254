import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { multiaddr } from '@multiformats/multiaddr';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import {
  decodeIdentify,
  encodeIdentify,
  handleIdentify,
  type IdentifyInfo,
  readIdentify,
} from '../../src/protocols/identify.ts';
import { encodeVarint } from '../../src/stream/bytes.ts';
import { streamPair } from '../support/stream-pair.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

const hostKey = generateHostKey();
const info: IdentifyInfo = {
  publicKey: hostKey.publicKey.protobuf,
  listenAddrs: [
    multiaddr('/ip4/192.0.2.1/udp/4001/quic-v1'),
    multiaddr('/ip6/2001:db8::1/tcp/4001'),
  ],
  observedAddr: multiaddr('/ip4/198.51.100.7/udp/9/quic-v1'),
  protocols: ['/ipfs/ping/1.0.0', '/ipfs/id/1.0.0'],
  agentVersion: 'agent/1.2.3',
  protocolVersion: 'family/1',
};
const plain = (it: IdentifyInfo) => ({
  ...it,
  publicKey: it.publicKey && Buffer.from(it.publicKey).toString('hex'),
  listenAddrs: it.listenAddrs.map(String),
  observedAddr: it.observedAddr?.toString(),
});
const framed = (message: Uint8Array) => Buffer.concat([encodeVarint(message.length), message]);

describe('identify', () => {
  for (const delivery of ['as-written', 'bytewise'] as const) {
    it(`gives the dialer what the listener tells (${delivery})`, async () => {
      const [dialer, listener] = streamPair({ delivery });
      const handled = handleIdentify(listener, info);
      const told = await readIdentify(dialer, peerIdOf(hostKey.publicKey));
      await handled;
      assert.deepEqual(plain(told), plain(info));
      assert.equal(dialer.did.closedWrite, true);
      assert.equal(listener.did.closedWrite, true);
    });
  }

  it('merges the messages of a split answer', async () => {
    const [dialer, listener] = streamPair();
    const nothing = {
      publicKey: undefined,
      listenAddrs: [],
      observedAddr: undefined,
      protocols: [],
      agentVersion: undefined,
      protocolVersion: undefined,
    };
    listener.write(framed(encodeIdentify({ ...info, protocols: ['/a/1'] })));
    listener.write(framed(encodeIdentify(nothing)));
    listener.write(
      framed(encodeIdentify({ ...nothing, protocols: ['/b/1'], agentVersion: 'x/2' })),
    );
    listener.closeWrite();
    const told = await readIdentify(dialer);
    assert.deepEqual(told.protocols, ['/a/1', '/b/1']);
    assert.equal(told.agentVersion, 'x/2');
    assert.equal(told.protocolVersion, 'family/1');
  });

  it('refuses the host key of another peer', async () => {
    const [dialer, listener] = streamPair();
    await handleIdentify(listener, info);
    const other = peerIdOf(generateHostKey().publicKey);
    await assert.rejects(readIdentify(dialer, other), code('ERR_PEER_ID_MISMATCH'));
    assert.notEqual(dialer.did.reset, undefined);
  });

  it('refuses a host key that is none', async () => {
    const [dialer, listener] = streamPair();
    await handleIdentify(listener, { ...info, publicKey: Uint8Array.of(1, 2, 3) });
    const peer = peerIdOf(hostKey.publicKey);
    await assert.rejects(readIdentify(dialer, peer), code('ERR_KEY_MALFORMED'));
  });

  const hostile: [string, Uint8Array, string][] = [
    ['nothing', new Uint8Array(0), 'ERR_EOF'],
    ['half a message', framed(encodeIdentify(info)).subarray(0, 40), 'ERR_EOF'],
    [
      'more than 8 KiB',
      Buffer.concat([encodeVarint(8193), Buffer.alloc(8193)]),
      'ERR_MESSAGE_TOO_LONG',
    ],
    [
      '11 messages',
      Buffer.concat(Array(11).fill(framed(encodeIdentify(info)))),
      'ERR_MESSAGE_TOO_LONG',
    ],
    ['bytes that are no protobuf', framed(Buffer.alloc(100, 0xff)), 'ERR_PROTOCOL_VIOLATION'],
    [
      'a field longer than the message',
      framed(Uint8Array.of(0x32, 0x7f, 0x41)),
      'ERR_PROTOCOL_VIOLATION',
    ],
  ];
  for (const [name, bytes, expected] of hostile) {
    it(`refuses ${name}`, async () => {
      const [dialer, listener] = streamPair();
      listener.write(bytes);
      listener.closeWrite();
      await assert.rejects(readIdentify(dialer), code(expected));
      assert.notEqual(dialer.did.reset, undefined);
    });
  }
});

describe('decodeIdentify', () => {
  it('skips unknown fields, those of another type, and addresses that it cannot parse', () => {
    const writer = new BinaryWriter();
    writer.tag(6, WireType.LengthDelimited).string('name/1');
    writer.tag(6, WireType.Varint).uint32(7);
    writer.tag(2, WireType.LengthDelimited).bytes(Uint8Array.of(0xff, 0xff, 0x03, 1)); // no such code
    writer.tag(2, WireType.LengthDelimited).bytes(Uint8Array.of(4, 127, 0, 0)); // ip4, truncated
    writer.tag(2, WireType.LengthDelimited).bytes(Uint8Array.of(4, 127, 0, 0, 1, 6, 1)); // tcp, truncated
    writer.tag(2, WireType.LengthDelimited).bytes(multiaddr('/ip4/127.0.0.1/tcp/80/ws').bytes);
    writer.tag(4, WireType.LengthDelimited).bytes(Uint8Array.of(1));
    writer.tag(8, WireType.LengthDelimited).bytes(Uint8Array.of(1, 2, 3));
    writer.tag(99, WireType.Varint).uint32(5);
    const told = decodeIdentify(writer.finish());
    assert.deepEqual(told.listenAddrs.map(String), ['/ip4/127.0.0.1/tcp/80/ws']);
    assert.equal(told.observedAddr, undefined);
    assert.equal(told.agentVersion, 'name/1');
  });

  it('bounds addresses and protocols', () => {
    const writer = new BinaryWriter();
    const address = multiaddr('/ip4/127.0.0.1/tcp/80').bytes;
    for (let i = 0; i < 3000; i++) {
      writer.tag(2, WireType.LengthDelimited).bytes(address);
      writer.tag(3, WireType.LengthDelimited).string('/a');
    }
    const told = decodeIdentify(writer.finish());
    assert.equal(told.listenAddrs.length, 500);
    assert.equal(told.protocols.length, 1024);
  });
});
