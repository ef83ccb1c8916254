import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { handleEitherPerf, probeRequest, requestPerf } from '../../src/harness/perf-requests.ts';
import { handlePerf, perf } from '../../src/protocols/perf.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { streamPair } from '../support/stream-pair.ts';

const KiB = 1024;
const SIZES = [
  [0, 0],
  [1, 1],
  [8, 0],
  [0, 8],
  [1024 * KiB + 1, 0],
  [0, 1024 * KiB + 1],
  [300 * KiB, 200 * KiB],
] as const;

const readAll = async (stream: Stream): Promise<number> => {
  for (let total = 0; ; ) {
    const chunk = await stream.read();
    if (chunk === null) return total;
    total += chunk.length;
  }
};

/** What the images of rust v0.56 and dotnet v1.0 listen with. */
const twoCountsListener = async (stream: Stream): Promise<number> => {
  const counts = Buffer.from(await readExactly(stream, 16));
  const upload = Number(counts.readBigUInt64BE(0));
  if (upload > 0) await readExactly(stream, upload);
  const download = Number(counts.readBigUInt64BE(8));
  if (download > 0) stream.write(new Uint8Array(download));
  stream.closeWrite();
  return upload;
};

describe('the perf suite’s two requests', () => {
  for (const [up, down] of SIZES) {
    it(`spec: ${up} up, ${down} down`, async () => {
      const [dialer, listener] = streamPair();
      const served = handleEitherPerf(listener);
      await perf(dialer, up, down);
      const request = up === 8 && down === 0 ? 'two-counts' : 'spec';
      const { uploaded, downloaded, request: seen } = await served;
      assert.equal(downloaded, down);
      // Eight zeros up and nothing down: as two counts, nothing at all. The answer is the same.
      assert.deepEqual([seen, uploaded], [request, request === 'spec' ? up : 0]);
    });

    it(`two counts: ${up} up, ${down} down`, async () => {
      const [dialer, listener] = streamPair();
      const served = handleEitherPerf(listener);
      await requestPerf(dialer, 'two-counts', up, down);
      assert.deepEqual(await served, { uploaded: up, downloaded: down, request: 'two-counts' });
    });

    it(`two counts to an image’s listener: ${up} up, ${down} down`, async () => {
      const [dialer, listener] = streamPair();
      const served = twoCountsListener(listener);
      await requestPerf(dialer, 'two-counts', up, down);
      assert.equal(await served, up);
    });
  }

  it('two counts without a half-close, split anywhere', async () => {
    const whole = Buffer.alloc(16 + 20);
    whole.writeBigUInt64BE(20n, 0);
    whole.writeBigUInt64BE(5n, 8);
    for (let at = 1; at < whole.length; at++) {
      const [dialer, listener] = streamPair();
      const served = handleEitherPerf(listener);
      dialer.write(whole.subarray(0, at));
      await new Promise(setImmediate);
      dialer.write(whole.subarray(at));
      assert.equal((await readExactly(dialer, 5)).length, 5);
      assert.deepEqual(await served, { uploaded: 20, downloaded: 5, request: 'two-counts' });
    }
  });

  it('an upload that is not zeros is no second count', async () => {
    const [dialer, listener] = streamPair();
    const served = handleEitherPerf(listener);
    dialer.write(new Uint8Array(8));
    await new Promise(setImmediate);
    dialer.write(new Uint8Array(8).fill(0xab)); // with a first count of 0: complete, if a count
    await new Promise(setImmediate);
    dialer.write(new Uint8Array(100).fill(0xab));
    dialer.closeWrite();
    assert.equal(await readAll(dialer), 0);
    assert.deepEqual(await served, { uploaded: 108, downloaded: 0, request: 'spec' });
  });

  it('a dialer finds out which one a listener takes', async () => {
    for (const [listen, request] of [
      [handlePerf, 'spec'],
      [handleEitherPerf, 'spec'],
      [twoCountsListener, 'two-counts'],
    ] as const) {
      const [dialer, listener] = streamPair();
      const served = listen(listener);
      assert.equal(await probeRequest(dialer), request);
      await served;
    }
  });

  it('a listener that answers neither way is an error', async () => {
    for (const [sent, message] of [
      [0, /nothing/],
      [3, /too much/],
    ] as const) {
      const [dialer, listener] = streamPair();
      const failed = assert.rejects(
        probeRequest(dialer),
        (error) => isLeanError(error, 'ERR_PROTOCOL_VIOLATION') && message.test(error.message),
      );
      await readAll(listener);
      if (sent > 0) listener.write(new Uint8Array(sent));
      listener.closeWrite();
      await failed;
    }
  });
});
