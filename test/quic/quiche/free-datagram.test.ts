/** freeDatagram(): what was received is freed at once, and nothing else is. */

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { freeDatagram } from '../../../src/quic/quiche/socket.ts';
import { RUNTIME } from '../../../src/runtime.ts';

const skip = !RUNTIME.udpBuffersAreOwned && 'this runtime keeps the buffers of datagrams';

test('the memory of a received datagram is freed at once', { skip }, async (t) => {
  const sender = createSocket('udp4');
  const receiver = createSocket('udp4');
  t.after(() => {
    sender.close();
    receiver.close();
  });
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening', { signal: AbortSignal.timeout(10_000) });
  for (const length of [1, 1452, 16_336]) {
    const arrived = once(receiver, 'message', { signal: AbortSignal.timeout(10_000) });
    sender.send(Buffer.alloc(length, 7), receiver.address().port, '127.0.0.1');
    const [packet] = (await arrived) as [Buffer];
    assert.equal(packet.length, length);
    freeDatagram(packet);
    assert.equal(packet.length, 0, `${length} bytes`);
    assert.equal(packet.buffer.byteLength, 0, `${length} bytes`);
  }
});

test('a buffer that others have a part in stays as it is', () => {
  const whole = Buffer.alloc(3000, 1);
  freeDatagram(whole.subarray(0, 1000));
  assert.equal(whole.length, 3000);
  const shared = Buffer.from(new SharedArrayBuffer(100));
  freeDatagram(shared);
  assert.equal(shared.length, 100);
});
