import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { ECHO, echo, handleEcho } from '../../src/protocols/echo.ts';
import { streamPair } from '../support/stream-pair.ts';

const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

describe('echo', () => {
  it("has js-libp2p's id", () => assert.equal(ECHO, '/echo/1.0.0'));

  for (const delivery of ['as-written', 'bytewise', 'coalesced'] as const) {
    it(`brings every byte back, then ends (${delivery})`, async () => {
      const [dialer, listener] = streamPair({ delivery });
      const handled = handleEcho(listener);
      await echo(dialer, randomBytes(1_000));
      await handled;
      assert.equal(listener.did.closedWrite, true);
    });
  }

  it('refuses other bytes, fewer bytes and more bytes, and resets', async () => {
    for (const answer of ['hellp', 'hell', 'hello!']) {
      const [dialer, listener] = streamPair();
      listener.write(Buffer.from(answer));
      listener.closeWrite();
      await assert.rejects(echo(dialer, Buffer.from('hello')), code('ERR_PROTOCOL_VIOLATION'));
      assert.notEqual(dialer.did.reset, undefined);
    }
  });

  it('gives up on a silent peer, on either side', async () => {
    const [dialer] = streamPair();
    await assert.rejects(echo(dialer, Buffer.from('x'), 20), code('ERR_TIMEOUT'));
    assert.notEqual(dialer.did.reset, undefined);
    const [, listener] = streamPair();
    await assert.rejects(handleEcho(listener, 20), code('ERR_TIMEOUT'));
    assert.notEqual(listener.did.reset, undefined);
  });

  it('does not hold what its dialer does not read', async () => {
    const [dialer, listener] = streamPair({ highWater: 4_096 });
    const handled = assert.rejects(handleEcho(listener, 50), code('ERR_TIMEOUT'));
    // Written without regard to room, and never read back.
    for (let i = 0; i < 100; i++) dialer.write(new Uint8Array(1_024));
    await handled;
    const echoed = listener.flights.reduce((sum, { length }) => sum + length, 0);
    assert.ok(echoed <= 4_096 + 1_024, `${echoed} bytes were echoed`);
  });
});
