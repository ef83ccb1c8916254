/** Streams of which everything was read but the peer's FIN, as when an answer's length is known. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { enginesHere } from '../support/engines.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { loopbackPair } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** Many times what `maxStreams` and `connectionMemory` allow at once. */
const EXCHANGES = 1_000;
const limits = { connectionMemory: 1 << 20, maxStreams: 100 };
const credentials = await issueTestCredentials('unread-end');
const options = { credentials, authenticate: () => {}, limits };

const answer = async (connection: QuicConnection): Promise<void> => {
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    stream.write(await readExactly(stream, 2));
    stream.closeWrite();
  }
};

for (const name of await enginesHere(['dialer', 'listener'])) {
  describe(`${name}: streams whose end nobody reads`, SUITE, () => {
    it('are over on both sides all the same', async (t) => {
      const { engine } = await selectEngine(name, 'listener');
      const ends = { dialer: engine, listener: engine };
      const { dialed, accepted } = await loopbackPair(t, ends, options);
      answer(accepted).catch(() => {});
      for (let i = 0; i < EXCHANGES; i++) {
        const stream = await dialed.openStream();
        stream.write(Buffer.from('hi'));
        stream.closeWrite();
        assert.deepEqual(Buffer.from(await readExactly(stream, 2)), Buffer.from('hi'));
      }
    });
  });
}
