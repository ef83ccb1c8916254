import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { handlePing, PING_SIZE, ping } from '../../src/protocols/ping.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { streamPair } from '../support/stream-pair.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

describe('ping', () => {
  for (const delivery of ['as-written', 'bytewise'] as const) {
    it(`goes round many times on one stream, until the dialer closes (${delivery})`, async () => {
      const [dialer, listener] = streamPair({ delivery });
      const handled = handlePing(listener);
      for (let i = 0; i < 20; i++) {
        const rtt = await ping(dialer);
        assert(rtt > 0 && Number.isFinite(rtt));
      }
      dialer.closeWrite();
      await handled;
      assert.equal(await dialer.read(), null);
      const payloads = new Set(dialer.flights.map((flight) => Buffer.from(flight).toString('hex')));
      assert.equal(payloads.size, 20);
      assert(dialer.flights.every((flight) => flight.length === PING_SIZE));
    });
  }

  it('refuses other bytes', async () => {
    const [dialer, listener] = streamPair();
    const failed = assert.rejects(ping(dialer), code('ERR_PING_MISMATCH'));
    const payload = Uint8Array.from(await readExactly(listener, PING_SIZE));
    payload[31] = (payload[31] ?? 0) ^ 1;
    listener.write(payload);
    await failed;
  });

  it('reports a peer that closes in the middle', async () => {
    const [dialer, listener] = streamPair();
    listener.write(new Uint8Array(31));
    listener.closeWrite();
    await assert.rejects(ping(dialer), code('ERR_EOF'));
  });

  it('gives up on a silent peer and resets the stream', async () => {
    const [dialer] = streamPair();
    await assert.rejects(ping(dialer, { timeout: 20 }), code('ERR_TIMEOUT'));
    assert.notEqual(dialer.did.reset, undefined);
  });

  it('rejects with the reset of its peer', async () => {
    const [dialer, listener] = streamPair();
    listener.reset(3);
    await assert.rejects(ping(dialer), code('ERR_STREAM_RESET'));
  });
});

describe('handlePing', () => {
  it('echoes coalesced and split pings', async () => {
    const [dialer, listener] = streamPair();
    const handled = handlePing(listener);
    const bytes = Uint8Array.from({ length: PING_SIZE * 3 }, (_, i) => i);
    dialer.write(bytes.subarray(0, 40));
    await new Promise(setImmediate);
    dialer.write(bytes.subarray(40));
    dialer.closeWrite();
    assert.deepEqual(Buffer.from(await readExactly(dialer, bytes.length)), Buffer.from(bytes));
    await handled;
  });

  it('reports a dialer that closes inside a ping', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(new Uint8Array(PING_SIZE + 1));
    dialer.closeWrite();
    await assert.rejects(handlePing(listener), code('ERR_EOF'));
  });

  it('does not wait for ever', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(new Uint8Array(5));
    await assert.rejects(handlePing(listener, 20), code('ERR_TIMEOUT'));
    assert.notEqual(listener.did.reset, undefined);
  });
});
