/** One address must not shut the others out of a QUIC listener; the hostile client is another process. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isLeanError } from '../../src/errors.ts';
import type { QuicLimits } from '../../src/quic/limits.ts';
import { selectEngine } from '../../src/quic/select.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import { enginesHere } from '../support/engines.ts';
import { issueTestCredentials, type TestCredentials } from '../support/quic-credentials.ts';
import { type Inbox, inbox, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 240_000 };
const HOSTILE = fileURLToPath(new URL('../support/silent-handshakes.ts', import.meta.url));

const others = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
const outside = others.find(({ internal, family }) => !internal && family === 'IPv4')?.address;

let credentials: TestCredentials;
before(async () => {
  credentials = await issueTestCredentials('admission');
});

for (const name of await enginesHere(['dialer', 'listener'])) {
  describe(`the ${name} listener`, SUITE, () => {
    const common = () => ({ credentials, authenticate: () => {} });

    const listen = async (
      t: TestContext,
      limits: Partial<QuicLimits>,
      host = '127.0.0.1',
    ): Promise<{ address: SocketAddress; accepted: Inbox<unknown>; refused: Inbox<string> }> => {
      const { engine } = await selectEngine(name, 'listener');
      const refused = inbox<string>();
      const accepted = inbox<unknown>();
      const listener = await engine.listen({
        ...common(),
        limits,
        address: { host, port: 0 },
        onConnection: (connection) => accepted.push(connection),
        onRefused: ({ message }, remote) => refused.push(`${remote.host} ${message}`),
      });
      t.after(() => listener.close());
      return { address: listener.address, accepted, refused };
    };

    const dial = async (remote: SocketAddress, handshakeTimeout = 20_000) => {
      const { engine } = await selectEngine(name, 'dialer');
      return engine.dial(remote, { ...common(), limits: { handshakeTimeout } });
    };

    test('20 of 20 dials succeed while one address holds all handshakes', HANG, async (t) => {
      // No place gets free by itself while the test runs.
      const { address } = await listen(t, {
        maxPending: 20,
        handshakeTimeout: 240_000,
        idleTimeout: 240_000,
      });
      const child = spawn(process.execPath, [HOSTILE, `${address.port}`, '127.0.0.2', '20'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      t.after(() => child.kill('SIGKILL'));
      await once(child.stdout, 'data');
      let succeeded = 0;
      for (let i = 0; i < 20; i++) {
        try {
          const connection = await dial(address);
          succeeded++;
          await connection.close();
        } catch (error) {
          t.diagnostic(String(error));
        }
      }
      assert.equal(succeeded, 20);
    });

    const skip = outside === undefined && 'no address but loopback';
    test('connections of one host, and not of loopback', { ...HANG, skip }, async (t) => {
      assert(outside !== undefined);
      const limits = { maxConnectionsPerHost: 2 };
      const { address, accepted } = await listen(t, limits, outside);
      const first = await dial(address);
      const second = await dial(address);
      t.after(() => second.close());
      await Promise.all([accepted.next(), accepted.next()]);
      const error = await rejection(dial(address, 500));
      const codes = ['ERR_TIMEOUT', 'ERR_DIAL', 'ERR_HANDSHAKE'];
      assert(isLeanError(error) && codes.includes(error.code), String(error));
      assert.equal(accepted.size, 0);
      await first.close();
      for (;;) {
        // Until the listener has seen the first one's end.
        const third = await dial(address, 500).catch(() => undefined);
        if (third === undefined) continue;
        await third.close();
        break;
      }
      const local = await listen(t, limits);
      const connections = await Promise.all([1, 2, 3].map(() => dial(local.address)));
      await Promise.all(connections.map((connection) => connection.close()));
    });
  });
}
