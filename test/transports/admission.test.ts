/** One address must not shut the others out: real sockets, the hostile ones in another process. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { multiaddr } from '@multiformats/multiaddr';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { hostOf } from '../../src/multiaddr.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import type { Transport, TransportListener } from '../../src/transports/transport.ts';
import type { UpgradeOptions } from '../../src/transports/upgrade.ts';
import { wsTransport } from '../../src/transports/websocket.ts';
import { type Inbox, inbox, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** 121 s were seen on a busy machine. */
const HANG = { timeout: 400_000 };
/** No place gets free by itself while a test runs, and no good dial is late; milliseconds. */
const PATIENCE = { handshakeTimeout: 240_000 };
const HOSTILE = fileURLToPath(new URL('../support/silent-sockets.ts', import.meta.url));
/** Whatever the test's own dials come from is 127.0.0.1. */
const ELSEWHERE = '127.0.0.2';

const MULTISTREAM = '\x13/multistream/1.0.0\n\x07/noise\n';
const HANDSHAKE =
  'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** Where the hostile sockets go silent. */
const STAGES: readonly [what: string, suffix: string, layer: 'tls' | 'plain', said: string][] = [
  ['tcp, from the start', '', 'plain', ''],
  ['tcp, before Noise', '', 'plain', MULTISTREAM],
  ['ws, from the start', '/ws', 'plain', ''],
  ['ws, as WebSockets', '/ws', 'plain', HANDSHAKE],
  ['wss, from the start', '/tls/ws', 'plain', ''],
  ['wss, before HTTP', '/tls/ws', 'tls', ''],
  ['wss, as WebSockets', '/tls/ws', 'tls', HANDSHAKE],
];

const options: UpgradeOptions = {
  hostKey: generateHostKey(),
  secureChannels: ['noise'],
  muxers: ['yamux'],
};

const make = (suffix: string, limits: UpgradeOptions['limits'] = {}): Transport =>
  suffix === ''
    ? tcpTransport({ ...options, limits })
    : wsTransport({ ...options, limits, insecureWss: true });

interface Bound {
  readonly listener: TransportListener;
  readonly refused: Inbox<string>;
  readonly port: number;
}

const listen = async (
  t: TestContext,
  transport: Transport,
  suffix = '',
  host = '127.0.0.1',
): Promise<Bound> => {
  const refused = inbox<string>();
  const listener = await transport.listen(multiaddr(`/ip4/${host}/tcp/0${suffix}`), {
    onConnection: () => {},
    onRefused: ({ message }, remote) => refused.push(`${remote.replace(/:\d+$/, '')} ${message}`),
  });
  t.after(() => listener.close());
  return { listener, refused, port: hostOf(listener.address).port };
};

const dial = (transport: Transport, { listener }: Bound) =>
  transport.dial(listener.address, {
    expectedPeer: undefined,
    signal: AbortSignal.timeout(60_000),
  });

/** A silent socket from one address of this machine to another. */
const silent = async (t: TestContext, port: number, from: string, to: string): Promise<Socket> => {
  const socket = connect({ host: to, port, localAddress: from });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  socket.resume();
  await once(socket, 'connect');
  return socket;
};

/** @returns once it holds them, or was prevented from holding more. */
const attack = async (
  t: TestContext,
  { port }: Bound,
  from: string,
  sockets: number,
  layer: 'tls' | 'plain',
  said: string,
): Promise<void> => {
  const bytes = Buffer.from(said).toString('base64url');
  const child = spawn(process.execPath, [HOSTILE, `${port}`, from, `${sockets}`, layer, bytes], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
};

describe('while one address holds all places for upgrades', SUITE, () => {
  for (const [what, suffix, layer, said] of STAGES) {
    test(`20 of 20 dials of another succeed: ${what}`, HANG, async (t) => {
      // What TLS costs the hostile client's machine is not what is looked at here.
      const [sockets, limits] = layer === 'tls' ? [300, { maxPending: 200 }] : [1_500, {}];
      const transport = make(suffix, { ...limits, ...PATIENCE });
      const bound = await listen(t, transport, suffix);
      await attack(t, bound, ELSEWHERE, sockets, layer, said);
      await assertAllDialsSucceed(t, transport, bound);
    });
  }

  test('20 of 20 of its own other dials succeed, too', HANG, async (t) => {
    const transport = make('', PATIENCE);
    const bound = await listen(t, transport);
    await attack(t, bound, '127.0.0.1', 1_500, 'plain', '');
    await assertAllDialsSucceed(t, transport, bound);
  });
});

const assertAllDialsSucceed = async (t: TestContext, transport: Transport, bound: Bound) => {
  let succeeded = 0;
  for (let i = 0; i < 20; i++) {
    try {
      const connection = await dial(transport, bound);
      succeeded++;
      await connection.close();
    } catch (error) {
      t.diagnostic(String(error));
    }
  }
  assert.equal(succeeded, 20);
};

const others = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
const outside = others.find(({ internal, family }) => !internal && family === 'IPv4')?.address;

describe('limits of a listener', SUITE, () => {
  for (const suffix of ['', '/ws', '/tls/ws']) {
    const kind = suffix === '' ? '/tcp' : suffix;

    test(`${kind}: the host with most pending loses its oldest to a newcomer`, HANG, async (t) => {
      const transport = make(suffix, { maxPending: 4 });
      const bound = await listen(t, transport, suffix);
      const sockets: Socket[] = [];
      for (const host of ['127.0.0.3', '127.0.0.2', '127.0.0.2', '127.0.0.2', '127.0.0.4']) {
        sockets.push(await silent(t, bound.port, host, '127.0.0.1'));
      }
      assert.equal(
        await bound.refused.next(),
        '127.0.0.2 too many connections: evicted (maxPending)',
      );
      assert(sockets[1] !== undefined);
      if (!sockets[1].closed) await once(sockets[1], 'close');
      await (await dial(transport, bound)).close();
      assert.equal(
        await bound.refused.next(),
        '127.0.0.2 too many connections: evicted (maxPending)',
      );
      assert.deepEqual(
        sockets.map(({ closed }) => closed),
        [false, true, true, false, false],
      );
    });

    const options = { ...HANG, skip: outside === undefined && 'no address but loopback' };
    test(`${kind}: connections of one host, and not of loopback`, options, async (t) => {
      assert(outside !== undefined);
      const transport = make(suffix, { maxConnectionsPerHost: 2 });
      const bound = await listen(t, transport, suffix, outside);
      const first = await dial(transport, bound);
      const second = await dial(transport, bound);
      t.after(() => second.close());
      const error = await rejection(dial(transport, bound));
      assert(isLeanError(error), String(error));
      assert.notEqual(error.code, 'ERR_TIMEOUT', 'it is turned away at once');
      assert.equal(
        await bound.refused.next(),
        `${outside} too many connections (maxConnectionsPerHost)`,
      );
      await first.close();
      for (;;) {
        // Until the listener has seen the first one's end.
        const third = await dial(transport, bound).catch(() => undefined);
        if (third === undefined) continue;
        await third.close();
        break;
      }
      const local = await listen(t, transport, suffix);
      const connections = await Promise.all([1, 2, 3].map(() => dial(transport, local)));
      await Promise.all(connections.map((connection) => connection.close()));
    });

    test(`${kind}: pending ones of one host, which loses its oldest`, options, async (t) => {
      assert(outside !== undefined);
      const transport = make(suffix, { maxPendingPerHost: 2 });
      const bound = await listen(t, transport, suffix, outside);
      const oldest = await silent(t, bound.port, outside, outside);
      const other = await silent(t, bound.port, outside, outside);
      await (await dial(transport, bound)).close();
      assert.equal(
        await bound.refused.next(),
        `${outside} too many connections: evicted (maxPendingPerHost)`,
      );
      if (!oldest.closed) await once(oldest, 'close');
      assert(!other.closed);
    });
  }
});
