/** Options of transports that are wrong: refused where they are given, not in the middle of a handshake. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { generateHostKey } from '../../src/identity/keys.ts';
import { quic as jsQuic } from '../../src/js-libp2p/transport.ts';
import { createMplex } from '../../src/mux/mplex.ts';
import { createYamux } from '../../src/mux/yamux.ts';
import { createPendingPool } from '../../src/pending-pool.ts';
import { ping } from '../../src/protocols/ping.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import { enginesHere } from '../support/engines.ts';
import { wirePair } from '../support/mux-pair.ts';
import { makeNode } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';

/** As JavaScript calls it, which no compiler has checked. */
type Untyped = (options: object) => unknown;

const refuses = (make: Untyped, options: object, message: RegExp): void => {
  assert.throws(() => make(options), { code: 'ERR_OPTIONS', message });
};

/** Limits that every transport has. */
const WRONG_LIMITS: [limits: object, message: RegExp][] = [
  [{ maxStreams: -1 }, /maxStreams must be a whole number in 1 … 65536, not -1$/],
  [{ maxStreams: 0 }, /maxStreams/],
  [{ maxStreams: Number.NaN }, /maxStreams/],
  [{ maxStreams: '64' }, /maxStreams/],
  [{ maxPending: undefined }, /maxPending/],
  [{ connectionMemory: 1 }, /connectionMemory/],
  [{ handshakeTimeout: 2 ** 40 }, /handshakeTimeout/],
  [{ idleTimeout: 0 }, /idleTimeout/],
  [{ maxStream: 64 }, /has no limit maxStream$/],
];

describe('options of transports', SUITE, () => {
  const transports: [name: string, make: Untyped, limits: typeof WRONG_LIMITS][] = [
    ['quic', quic as Untyped, [[{ streamWindow: -5 }, /streamWindow/]]],
    ["js-libp2p's quic", jsQuic as Untyped, [[{ retryAbove: -1 }, /retryAbove/]]],
    ['tcp', tcp as Untyped, [[{ maxWindow: 2 ** 32 }, /maxWindow/]]],
    ['websocket', websocket as Untyped, [[{ streamBuffer: 0 }, /streamBuffer/]]],
  ];
  for (const [name, make, own] of transports) {
    test(`${name}: limits out of range, and unknown ones`, () => {
      for (const [limits, message] of [...WRONG_LIMITS, ...own]) refuses(make, { limits }, message);
      make({ limits: { maxStreams: 64, maxPending: 8 } });
    });
  }

  for (const [name, create] of Object.entries({ createYamux, createMplex })) {
    test(`${name}: limits out of range, and unknown ones`, async (t) => {
      const wrong = WRONG_LIMITS.filter(
        ([limits]) => !/maxPending|Timeout/.test(Object.keys(limits)[0] ?? ''),
      );
      const [dialed, accepted] = await wirePair();
      t.after(() => Promise.all([dialed.close(), accepted.close()]));
      const carrier = { stream: dialed, close: () => dialed.close() };
      const make: Untyped = (limits) => create(carrier, 'dialer', limits);
      for (const [limits, message] of wrong) refuses(make, limits, message);
      refuses(make, { handshakeTimeout: 1 }, /a muxer has no limit handshakeTimeout$/);
      create(carrier, 'dialer', { maxStreams: 64 });
    });
  }

  test('createPendingPool: a limit out of range', () => {
    for (const max of [0, -1, Number.NaN, 1.5]) {
      assert.throws(() => createPendingPool(max), { code: 'ERR_OPTIONS', message: /maxPending/ });
    }
  });

  test('an idle timeout longer than timers are is no warning for each connection', async (t) => {
    const warnings: string[] = [];
    const onWarning = ({ name }: Error): void => void warnings.push(name);
    process.on('warning', onWarning);
    t.after(() => process.off('warning', onWarning));
    const transports = [tcp({ limits: { idleTimeout: 2 ** 40 } })];
    const [dialer, listener] = [
      await makeNode(t, { transports }),
      await makeNode(t, { transports }),
    ];
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    assert.ok((await ping(await dialer.dial(address))) > 0);
    assert.deepEqual(warnings, []);
  });

  test('TCP may do without an idle timeout', () => {
    tcp({ limits: { idleTimeout: Number.POSITIVE_INFINITY } });
  });

  for (const [name, make] of transports.slice(0, 2)) {
    test(`${name}: an unknown engine`, () => {
      refuses(
        make,
        { engine: 'quin' },
        /no QUIC engine "quin"; choose from: auto, quinn, node, quiche$/,
      );
    });
  }

  for (const [name, make] of transports.slice(2)) {
    test(`${name}: unknown secure channels and muxers, and none`, () => {
      refuses(
        make,
        { secureChannels: ['noice'] },
        /no secure channel "noice"; choose from: noise, tls$/,
      );
      refuses(make, { muxers: ['yamux', 'spdy'] }, /no muxer "spdy"; choose from: yamux, mplex$/);
      refuses(make, { secureChannels: [] }, /no secure channel is given/);
      refuses(make, { muxers: [] }, /no muxer is given/);
    });
  }
});

test('an engine by an unknown name', async () => {
  const selecting = (selectEngine as (name: string, role: string) => unknown)('quin', 'dialer');
  await assert.rejects(Promise.resolve(selecting), { code: 'ERR_OPTIONS' });
});

for (const name of await enginesHere(['dialer', 'listener'])) {
  test(`${name}: limits out of range neither listen nor dial`, async () => {
    const { engine } = await selectEngine(name, 'listener');
    const credentials = issueCertificate(generateHostKey());
    for (const limits of [{ maxStreams: -1 }, { streamWindow: 2 ** 62 }, { maxStream: 1 }]) {
      const options = { credentials, limits, authenticate: () => {} };
      const address = { host: '127.0.0.1', port: 0 };
      const refused = { code: 'ERR_OPTIONS', message: /QUIC/ };
      const listening = engine.listen({ ...options, address, onConnection: () => {} });
      await assert.rejects(listening, refused);
      await assert.rejects(engine.dial({ ...address, port: 9 }, options), refused);
    }
  });
}
