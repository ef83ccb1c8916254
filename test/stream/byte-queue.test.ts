import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { describe, test } from 'node:test';
import { ByteQueue } from '../../src/stream/byte-queue.ts';

/** What all chunks of the queue keep alive. */
const buffersOf = (queue: ByteQueue): number => {
  const buffers = new Set(queue.front(queue.bytes).map(({ buffer }) => buffer));
  return [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
};

describe('a queue of bytes', () => {
  test('gives back what was put in, whatever is done in between', () => {
    for (let round = 0; round < 200; round++) {
      const queue = new ByteQueue();
      let model = Buffer.alloc(0);
      for (let step = 0; step < 60; step++) {
        const chunk = randomBytes(randomInt(2) === 0 ? randomInt(1, 200) : randomInt(1, 9_000));
        const length = randomInt(0, model.length + 1);
        const kind = randomInt(6);
        if (kind <= 2) {
          queue.push(chunk);
          model = Buffer.concat([model, chunk]);
        } else if (kind === 3) {
          queue.unshift(chunk);
          model = Buffer.concat([chunk, model]);
        } else if (kind === 4) {
          assert.deepEqual(Buffer.concat(queue.front(length)), model.subarray(0, length));
          queue.drop(length);
          model = model.subarray(length);
        } else {
          const first = queue.first();
          const shifted = queue.shift();
          assert.deepEqual(shifted, first);
          const size = shifted?.length ?? 0;
          assert.deepEqual(Buffer.from(shifted ?? []), model.subarray(0, size));
          assert.equal(size === 0, model.length === 0);
          model = model.subarray(size);
        }
        assert.equal(queue.bytes, model.length);
        assert.deepEqual(Buffer.concat(queue.front(queue.bytes)), model);
      }
      queue.clear();
      assert.equal(queue.bytes, 0);
      assert.equal(queue.shift(), undefined);
    }
  });

  test('small parts of large buffers do not keep those', () => {
    const queue = new ByteQueue();
    for (let i = 0; i < 1_000; i++) queue.push(new Uint8Array(65_536).subarray(100, 132));
    assert.equal(queue.bytes, 32_000);
    assert(buffersOf(queue) <= 3 * queue.bytes, `${buffersOf(queue)}`);
    assert(queue.front(queue.bytes).length < 20);

    const larger = new ByteQueue();
    for (let i = 0; i < 100; i++) larger.push(new Uint8Array(65_536).subarray(0, 2_000));
    assert(buffersOf(larger) <= larger.bytes);

    const alone = new ByteQueue();
    alone.push(new Uint8Array(65_536).subarray(0, 32));
    assert.equal(buffersOf(alone), 32);
    alone.unshift(new Uint8Array(65_536).subarray(0, 1));
    assert(buffersOf(alone) <= 40);
  });

  test('large chunks are kept as they are', () => {
    const queue = new ByteQueue();
    const chunk = new Uint8Array(65_536).subarray(0, 20_000);
    queue.push(chunk);
    assert.equal(queue.first(), chunk);
  });
});
