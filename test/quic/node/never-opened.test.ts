/** Streams that wait for the peer's limit, and are given up. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { isBuiltin } from 'node:module';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isLeanError } from '../../../src/errors.ts';
import { nodeQuicEngine } from '../../../src/quic/node/engine.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';
import { echo, loopbackPair } from '../../support/quic-helpers.ts';
import { SUITE } from '../../support/suite-limit.ts';

const PROGRAM = fileURLToPath(new URL('../../support/unopened-stream.ts', import.meta.url));
/** Each may come to nothing, as the stream may open first. */
const ATTEMPTS = 10;

if (isBuiltin('node:quic')) {
  describe('node:quic: streams that were given up before they opened', SUITE, () => {
    test('a process that had one ends as it should', async () => {
      const args = ['--experimental-quic', '--no-warnings', PROGRAM];
      // Throws unless the exit code is 0.
      const { stdout } = await promisify(execFile)(process.execPath, args);
      assert.equal(stdout, 'ERR_CONNECTION_CLOSED\n');
    });

    test('they take nothing from the limit', async (t) => {
      const engine = await nodeQuicEngine();
      const { dialed, accepted } = await loopbackPair(
        t,
        { dialer: engine, listener: engine },
        {
          credentials: await issueTestCredentials('given-up'),
          authenticate: () => {},
          limits: { maxStreams: 1 },
        },
      );
      const serve = async (): Promise<void> => {
        for (;;) {
          const stream = await accepted.acceptStream();
          if (stream === null) return;
          echo(stream).catch(() => {});
        }
      };
      serve().catch(() => {});
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const stream = await dialed.openStream();
        stream.write(Buffer.from('hello'));
        stream.closeWrite();
        while ((await stream.read()) !== null);
        const impatience = new AbortController();
        const opening = dialed.openStream(impatience.signal);
        nextTurn()
          .then(() => nextTurn())
          .then(() => impatience.abort());
        try {
          (await opening).reset();
        } catch (error) {
          assert.ok(isLeanError(error, 'ERR_ABORTED'), String(error));
        }
      }
    });
  });
} else {
  process.stderr.write('skipped: unopened streams of node:quic: this Node.js has no node:quic\n');
}
