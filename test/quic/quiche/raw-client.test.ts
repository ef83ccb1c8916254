/** Clients that no libp2p implementation would be, against the listener of each engine. */

import assert from 'node:assert/strict';
import { isBuiltin } from 'node:module';
import test, { before, describe, type TestContext } from 'node:test';
import { LeanError } from '../../../src/errors.ts';
import type { QuicConnection, QuicEngine, QuicListener } from '../../../src/quic/engine.ts';
import { nodeQuicEngine } from '../../../src/quic/node/engine.ts';
import { quicheEngine } from '../../../src/quic/quiche/engine.ts';
import { quinnEngine } from '../../../src/quic/quinn/engine.ts';
import { whyNoQuinn } from '../../support/engines.ts';
import { issueTestCredentials, type TestCredentials } from '../../support/quic-credentials.ts';
import { type Inbox, inbox, staysPending } from '../../support/quic-helpers.ts';
import { type RawClient, type RawOptions, rawDial } from '../../support/quic-raw.ts';

const HANG = { timeout: 30_000 };

const listenerSuite = (name: string, load: () => Promise<QuicEngine>): void => {
  describe(`${name} listener`, () => {
    let engine: QuicEngine;
    let ours: TestCredentials;
    let theirs: TestCredentials;
    let other: TestCredentials;

    before(async () => {
      engine = await load();
      [ours, theirs, other] = await Promise.all([
        issueTestCredentials('listener'),
        issueTestCredentials('client'),
        issueTestCredentials('other'),
      ]);
    });

    interface Bound {
      readonly listener: QuicListener;
      readonly accepted: Inbox<QuicConnection>;
      readonly refused: Inbox<Error>;
      /** The length of every chain that was judged. */
      readonly chains: number[];
    }

    const bind = async (t: TestContext): Promise<Bound> => {
      const accepted = inbox<QuicConnection>();
      const refused = inbox<Error>();
      const chains: number[] = [];
      const listener = await engine.listen({
        address: { host: '127.0.0.1', port: 0 },
        credentials: ours,
        authenticate: (chain) => {
          chains.push(chain.length);
          if (chain.length !== 1) throw new LeanError('ERR_CERT_COUNT', 'not one certificate');
        },
        onConnection: (connection) => accepted.push(connection),
        onRefused: (error) => refused.push(error),
      });
      t.after(() => listener.close());
      return { listener, accepted, refused, chains };
    };

    const dial = async (t: TestContext, bound: Bound, options: RawOptions): Promise<RawClient> => {
      const client = await rawDial(bound.listener.address, options);
      t.after(() => client.destroy());
      return client;
    };

    const good = (): RawOptions => ({
      certificates: [theirs.certificatePem],
      privateKeyPem: theirs.privateKeyPem,
    });

    /** The client that is as it should be still gets through. */
    const assertServes = async (t: TestContext, bound: Bound): Promise<void> => {
      const client = await dial(t, bound, good());
      await client.opened;
      const connection = await bound.accepted.next();
      assert.ok(Buffer.from(theirs.certificateDer).equals(connection.peerCertificate));
    };

    test('a client without a certificate is refused', HANG, async (t) => {
      const bound = await bind(t);
      const client = await dial(t, bound, {});
      const error = await client.ended;
      assert.equal(error?.type, 'transport', String(error));
      await bound.refused.next();
      assert.equal(bound.accepted.size, 0);
      assert.deepEqual(
        bound.chains.filter((length) => length > 0),
        [],
      );
      await assertServes(t, bound);
    });

    test('a client with two certificates is seen to have two', HANG, async (t) => {
      const bound = await bind(t);
      const client = await dial(t, bound, {
        certificates: [theirs.certificatePem, other.certificatePem],
        privateKeyPem: theirs.privateKeyPem,
      });
      const error = await client.ended;
      assert.equal(error?.errorCode, 0x12an);
      assert.equal(error?.reason, 'not one certificate');
      assert.match((await bound.refused.next()).message, /not one certificate/);
      assert.deepEqual(bound.chains, [2]);
      assert.equal(bound.accepted.size, 0);
      await assertServes(t, bound);
    });

    test('a client with another ALPN is refused', HANG, async (t) => {
      const bound = await bind(t);
      const client = await dial(t, bound, { ...good(), alpn: 'h3x' });
      // node:quic takes seconds to tell its client of this alert, so it is enough that nothing comes.
      assert.ok(await staysPending(client.opened));
      assert.equal(bound.accepted.size, 0);
      assert.deepEqual(bound.chains, []);
      await assertServes(t, bound);
    });

    test('SNI is ignored, unidirectional streams are not granted', HANG, async (t) => {
      const bound = await bind(t);
      const client = await dial(t, bound, good());
      await client.opened;
      const connection = await bound.accepted.next();
      const unidirectional = await client.openUnidirectional();
      assert.equal(unidirectional.id, null);
      assert.ok(await staysPending(connection.acceptStream().then(assert.ok), 100));
      assert.equal(unidirectional.id, null);
    });

    test('a client that vanishes in the handshake is forgotten', HANG, async (t) => {
      const bound = await bind(t);
      const client = await dial(t, bound, good());
      await client.destroy();
      await assertServes(t, bound);
      assert.equal(bound.accepted.size, 0);
    });
  });
};

if (isBuiltin('node:quic')) {
  listenerSuite('node:quic', nodeQuicEngine);
  listenerSuite('quiche', quicheEngine);
  if (whyNoQuinn === undefined) listenerSuite('quinn', quinnEngine);
  else test('raw QUIC clients of quinn', { skip: whyNoQuinn });
} else {
  test('raw QUIC clients', { skip: 'this Node has no node:quic' });
}
