import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { handlePerf, type PerfProgress, perf } from '../../src/protocols/perf.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { streamPair } from '../support/stream-pair.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};
const MiB = 1 << 20;

describe('perf', () => {
  for (const [up, down] of [
    [0, 0],
    [1, 0],
    [0, 1],
    [65_536, 65_537],
    [10 * MiB + 3, 7 * MiB + 5],
  ] as const) {
    it(`moves ${up} bytes up and ${down} bytes down`, async () => {
      const [dialer, listener] = streamPair({ highWater: 256 * 1024 });
      const handled = handlePerf(listener);
      const result = await perf(dialer, up, down);
      assert.deepEqual(await handled, { uploaded: up, downloaded: down });
      assert(result.uploadMs >= 0 && result.downloadMs >= 0);
      assert.equal(dialer.did.reset ?? listener.did.reset, undefined);
    });
  }

  it('asks for more than 2^32 bytes with an exact 8-byte count', async () => {
    for (const [count, hex] of [
      [10 * 2 ** 30, '0000000280000000'],
      [2 ** 53 - 1, '001fffffffffffff'],
    ] as const) {
      const [dialer, listener] = streamPair();
      const failed = assert.rejects(perf(dialer, 0, count), code('ERR_STREAM_RESET'));
      assert.equal(Buffer.from(await readExactly(listener, 8)).toString('hex'), hex);
      listener.reset();
      await failed;
    }
  });

  it('does not send before the upload has ended', async () => {
    const [dialer, listener] = streamPair();
    const handled = handlePerf(listener);
    dialer.write(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 3, 1, 1));
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    assert.equal(listener.flights.length, 0);
    dialer.closeWrite();
    assert.deepEqual(await handled, { uploaded: 2, downloaded: 3 });
    assert.equal((await readExactly(dialer, 3)).length, 3);
  });

  it('takes a short or a long download for a failure', async () => {
    for (const [sent, expected] of [
      [99, 'ERR_EOF'],
      [0, 'ERR_EOF'],
      [101, 'ERR_PROTOCOL_VIOLATION'],
    ] as const) {
      const [dialer, listener] = streamPair();
      listener.write(new Uint8Array(sent));
      listener.closeWrite();
      await assert.rejects(perf(dialer, 10, 100), code(expected));
      assert.notEqual(dialer.did.reset, undefined);
    }
  });

  it('fails when the peer stops reading or resets', async () => {
    const [dialer, listener] = streamPair({ highWater: 1024 });
    listener.stopSending(1);
    await assert.rejects(perf(dialer, MiB, 0), code('ERR_STREAM_STOPPED'));
    const [other, resetter] = streamPair({ highWater: 1024 });
    const handled = assert.rejects(handlePerf(resetter), code('ERR_STREAM_RESET'));
    other.write(new Uint8Array(100));
    await new Promise(setImmediate);
    other.reset(1);
    await handled;
  });

  it('fails when nothing moves', async () => {
    const [dialer] = streamPair();
    await assert.rejects(perf(dialer, 10, 100, { stallTimeout: 10 }), code('ERR_TIMEOUT'));
    const [, listener] = streamPair();
    await assert.rejects(handlePerf(listener, { stallTimeout: 10 }), code('ERR_TIMEOUT'));
  });

  it('refuses a stream without a whole count', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(new Uint8Array(7));
    dialer.closeWrite();
    await assert.rejects(handlePerf(listener), code('ERR_EOF'));
  });

  it('reports progress while bytes flow', async () => {
    const [dialer, listener] = streamPair({ highWater: 64 * 1024 });
    const seen: PerfProgress[] = [];
    const handled = handlePerf(listener);
    await perf(dialer, 64 * MiB, 0, { onProgress: (it) => seen.push(it), progressInterval: 1 });
    await handled;
    assert((seen.at(-1)?.uploaded ?? 0) > 0);
    assert(seen.every((it, i) => it.uploaded >= (seen[i - 1]?.uploaded ?? 0)));
  });
});
