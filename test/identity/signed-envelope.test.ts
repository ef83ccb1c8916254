/** Signed envelopes. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { peerIdOf } from '../../src/identity/peer-id.ts';
import { openEnvelope, sealEnvelope } from '../../src/identity/signed-envelope.ts';
import { openVoucher, sealVoucher } from '../../src/protocols/circuit-messages.ts';

const hostKey = generateHostKey();
const type = Uint8Array.of(3, 2);
const payload = Buffer.from('what is signed');
const violation = (error: unknown): boolean =>
  isLeanError(error, 'ERR_PROTOCOL_VIOLATION') || isLeanError(error, 'ERR_KEY_MALFORMED');

describe('signed envelopes', () => {
  it('hold what was sealed, and who did it', () => {
    const opened = openEnvelope(sealEnvelope(hostKey, 'domain', type, payload), 'domain');
    assert.deepEqual(opened.payloadType, type);
    assert.deepEqual(Buffer.from(opened.payload), payload);
    assert.ok(peerIdOf(opened.publicKey).equals(peerIdOf(hostKey.publicKey)));
  });

  it('are for one domain, and no bit of them can be changed', () => {
    const sealed = sealEnvelope(hostKey, 'domain', type, payload);
    assert.throws(() => openEnvelope(sealed, 'domaim'), violation);
    for (let bit = 0; bit < 8 * sealed.length; bit++) {
      const changed = Uint8Array.from(sealed);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      assert.throws(
        () => openEnvelope(changed, 'domain'),
        (error) => isLeanError(error),
        `${bit}`,
      );
    }
    for (let length = 0; length < sealed.length; length++) {
      assert.throws(() => openEnvelope(sealed.subarray(0, length), 'domain'), violation);
    }
    const long = Buffer.alloc(8 * 1024 + 1);
    assert.throws(
      () => openEnvelope(long, 'domain'),
      (error) => isLeanError(error, 'ERR_MESSAGE_TOO_LONG'),
    );
  });

  it('hold vouchers, to the second', () => {
    const [relay, peer] = [peerIdOf(hostKey.publicKey), peerIdOf(generateHostKey().publicKey)];
    const voucher = openVoucher(sealVoucher(hostKey, { relay, peer, expires: 1_234_567_890_123 }));
    assert.ok(voucher.relay.equals(relay) && voucher.peer.equals(peer));
    assert.equal(voucher.expires, 1_234_567_890_000);
    const other = sealEnvelope(hostKey, 'libp2p-relay-rsvp', Uint8Array.of(3, 1), payload);
    assert.throws(() => openVoucher(other), violation);
  });
});
