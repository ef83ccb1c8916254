/** Dials over paths so bad that the handshake takes longer than a listener gives it. */

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { enginesHere } from '../support/engines.ts';
import { pickyRelay } from '../support/lossy-relay.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { echo, inbox, readAll, rejection, silentSocket } from '../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };
/** What the handshake would be given without a signal; milliseconds. */
const LIMIT = 1_000;
/** How many of its packets are lost, at least. */
const ATTEMPTS = 2;
const authenticate = (): void => {};

const engines = await enginesHere(['dialer', 'listener']);
const load = async (name: EngineName) => (await selectEngine(name, 'listener')).engine;

describe('the handshake of a dial may take as long as the dial', { concurrency: true }, () => {
  for (const dialling of engines) {
    for (const listening of engines) {
      test(`${dialling} dials ${listening}: nothing comes through at first`, HANG, async (t) => {
        const [dialer, listener] = await Promise.all([load(dialling), load(listening)]);
        const options = { credentials: await issueTestCredentials('slow'), authenticate };
        const accepted = inbox<QuicConnection>();
        const bound = await listener.listen({
          ...options,
          address: { host: '127.0.0.1', port: 0 },
          limits: { handshakeTimeout: 10 * LIMIT },
          onConnection: accepted.push,
        });
        t.after(() => bound.close());
        let start: number | undefined;
        let packets = 0;
        const relay = await pickyRelay(bound.address, () => {
          start ??= performance.now();
          return packets++ >= ATTEMPTS && performance.now() - start > 1.5 * LIMIT;
        });
        t.after(() => relay.close());
        const dialed = await dialer.dial(relay.address, {
          ...options,
          limits: { handshakeTimeout: LIMIT },
          signal: AbortSignal.timeout(30_000),
        });
        t.after(() => dialed.close());
        const stream = await dialed.openStream();
        stream.write(Buffer.from('at last'));
        stream.closeWrite();
        const remote = await (await accepted.next()).acceptStream();
        assert.ok(remote);
        await echo(remote);
        assert.equal(String(await readAll(stream)), 'at last');
        assert.ok(relay.dropped() >= ATTEMPTS);
      });
    }

    test(`${dialling}: the signal ends it`, HANG, async (t) => {
      const silent = await silentSocket();
      t.after(silent.close);
      const dialer = await load(dialling);
      const error = await rejection(
        dialer.dial(silent.address, {
          credentials: await issueTestCredentials('slow'),
          authenticate,
          limits: { handshakeTimeout: 60_000 },
          signal: AbortSignal.timeout(100),
        }),
      );
      assert.ok(isLeanError(error, 'ERR_ABORTED'), String(error));
    });
  }
});
