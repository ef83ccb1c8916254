import assert from 'node:assert/strict';
import test from 'node:test';
import { isLongHeader, parseLongHeader } from '../../../src/quic/quiche/packet-header.ts';

/** A QUIC v1 Initial header with the given ids and token, and `rest` behind it. */
const initial = (dcid: Buffer, scid: Buffer, token: Buffer, rest = Buffer.alloc(4)): Buffer =>
  Buffer.concat([
    Buffer.from([0xc0, 0, 0, 0, 1, dcid.length]),
    dcid,
    Buffer.from([scid.length]),
    scid,
    token.length < 64
      ? Buffer.from([token.length])
      : Buffer.from([0x40 | (token.length >> 8), token.length & 0xff]),
    token,
    rest,
  ]);

test('reads an Initial: ids and token', () => {
  for (const token of [Buffer.alloc(0), Buffer.from('abc'), Buffer.alloc(300, 7)]) {
    const header = parseLongHeader(initial(Buffer.alloc(8, 1), Buffer.alloc(5, 2), token));
    assert.deepEqual(header, {
      version: 1,
      dcid: Buffer.alloc(8, 1),
      scid: Buffer.alloc(5, 2),
      initial: true,
      token,
    });
  }
});

test('reads other versions without a guess at their token', () => {
  const packet = initial(Buffer.alloc(8, 1), Buffer.alloc(0), Buffer.from('abc'));
  packet.writeUInt32BE(0xfaceb00c, 1);
  const header = parseLongHeader(packet);
  assert.equal(header?.version, 0xfaceb00c);
  assert.equal(header?.initial, false);
  assert.equal(header?.token.length, 0);
});

test('drops what is cut off, over-long or a short header', () => {
  const whole = initial(
    Buffer.alloc(8, 1),
    Buffer.alloc(5, 2),
    Buffer.alloc(70, 3),
    Buffer.alloc(0),
  );
  assert.ok(parseLongHeader(whole));
  for (let length = 0; length < whole.length; length++) {
    assert.equal(parseLongHeader(whole.subarray(0, length)), undefined, `${length} bytes`);
  }
  assert.equal(
    parseLongHeader(initial(Buffer.alloc(21), Buffer.alloc(0), Buffer.alloc(0))),
    undefined,
  );
  assert.equal(
    parseLongHeader(initial(Buffer.alloc(8), Buffer.alloc(21), Buffer.alloc(0))),
    undefined,
  );
  assert.equal(
    parseLongHeader(initial(Buffer.alloc(8), Buffer.alloc(8), Buffer.alloc(513))),
    undefined,
  );
  const short = Buffer.alloc(40, 0x40);
  assert.equal(isLongHeader(short), false);
  assert.equal(parseLongHeader(short), undefined);
});
