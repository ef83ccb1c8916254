/** How connections of the quiche engine end on paths that lose packets. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { QuicConnection } from '../../../src/quic/engine.ts';
import { quicheEngine } from '../../../src/quic/quiche/engine.ts';
import { pickyRelay } from '../../support/lossy-relay.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';
import { inbox } from '../../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };
const script = fileURLToPath(new URL('../../support/unconfirmed-close.ts', import.meta.url));

describe('the end of a quiche connection', () => {
  for (const closing of ['dialer', 'listener'] as const) {
    test(
      `the ${closing}'s close() got lost: it is told again to a peer that goes on sending`,
      HANG,
      async (t) => {
        const engine = await quicheEngine();
        const options = {
          credentials: await issueTestCredentials('close'),
          authenticate: () => {},
        };
        const accepted = inbox<QuicConnection>();
        const listener = await engine.listen({
          ...options,
          address: { host: '127.0.0.1', port: 0 },
          onConnection: accepted.push,
        });
        t.after(() => listener.close());
        let lost: 'dialer' | 'listener' | undefined;
        const relay = await pickyRelay(
          listener.address,
          (_packet, toListener) => lost !== (toListener ? 'dialer' : 'listener'),
        );
        t.after(() => relay.close());
        const dialer = await engine.dial(relay.address, options);
        const ends = { dialer, listener: await accepted.next() };
        const other = ends[closing === 'dialer' ? 'listener' : 'dialer'];
        const stream = await other.openStream();
        stream.write(Buffer.from('hello'));
        const received = await ends[closing].acceptStream();
        assert.equal(String(await received?.read()), 'hello');

        const before = relay.dropped();
        lost = closing;
        await ends[closing].close(7, 'enough');
        while (relay.dropped() === before) await new Promise(setImmediate);
        lost = undefined;
        stream.write(Buffer.from('are you there?'));
        const { by, code, reason } = await other.closed;
        assert.deepEqual([by, code, reason], ['remote', 7, 'enough']);
      },
    );
  }

  test(
    'close() before the handshake is confirmed ends, and the process goes on',
    HANG,
    async (t) => {
      const child = spawn(process.execPath, [script], { stdio: ['pipe', 'ignore', 'inherit'] });
      t.after(() => child.kill('SIGKILL'));
      const [code] = await once(child, 'exit');
      assert.equal(code, 0);
    },
  );
});
