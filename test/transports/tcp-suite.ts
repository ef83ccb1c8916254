/** What the TCP and WebSocket transports have to do, over real sockets. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { before, describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Multiaddr } from '@multiformats/multiaddr';
import { multiaddr } from '@multiformats/multiaddr';
import type { TransportConnection } from '../../src/connection.ts';
import { type ErrorCode, isLeanError } from '../../src/errors.ts';
import { generateHostKey, type HostKey } from '../../src/identity/keys.ts';
import { type PeerId, peerIdOf } from '../../src/identity/peer-id.ts';
import { hostOf } from '../../src/multiaddr.ts';
import type { MuxLimits } from '../../src/mux/mux-limits.ts';
import type { MuxerName } from '../../src/mux/muxer.ts';
import type { SecureChannelName } from '../../src/secure/secure-channel.ts';
import { issueCertificate, type TlsIdentity } from '../../src/tls/issue.ts';
import type { Transport, TransportListener } from '../../src/transports/transport.ts';
import type { UpgradeOptions } from '../../src/transports/upgrade.ts';
import type { UpgradeLimits } from '../../src/transports/upgrade-limits.ts';
import { streamSuite } from '../mux/suite.ts';
import { echo, hasIPv6, type Inbox, inbox, readAll, rejection } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

export interface TransportSuite {
  readonly kind: 'tcp' | 'ws' | 'wss';
  readonly make: (options: UpgradeOptions) => Transport;
  /** What follows `/tcp/N`. */
  readonly suffix: string;
  /** A raw socket to the listener, brought to where the upgrade starts, to be written to. */
  readonly attach: (socket: Socket) => Promise<{ write(bytes: Uint8Array): void }>;
  /** Combinations whose streams go through the stream suite. */
  readonly streams: readonly [SecureChannelName, MuxerName][];
}

const HANG = { timeout: 30_000 };
export const SECURE: readonly SecureChannelName[] = ['noise', 'tls'];
export const MUXERS: readonly MuxerName[] = ['yamux', 'mplex'];
const stranger = peerIdOf(generateHostKey().publicKey);
const peerScript = fileURLToPath(new URL('../support/mux-peer.ts', import.meta.url));
const has = (code: ErrorCode) => (error: unknown) => isLeanError(error, code);

interface Forced {
  readonly secureChannels?: readonly SecureChannelName[];
  readonly muxers?: readonly MuxerName[];
  readonly limits?: Partial<UpgradeLimits & MuxLimits>;
}

interface Bound {
  readonly listener: TransportListener;
  /** The accepted end of a connection. */
  readonly acceptedFrom: (
    dialed: Pick<TransportConnection, 'localAddress'>,
  ) => Promise<TransportConnection>;
  readonly acceptedCount: () => number;
  readonly refused: Inbox<Error>;
}

export const transportSuite = ({ kind, make, suffix, attach, streams }: TransportSuite): void => {
  describe(`the ${kind} transport`, SUITE, () => {
    const [ours, theirs] = [generateHostKey(), generateHostKey()];
    const [ourPeer, theirPeer] = [peerIdOf(ours.publicKey), peerIdOf(theirs.publicKey)];
    const identities = new Map<HostKey, TlsIdentity>();
    before(async () => {
      for (const key of [ours, theirs]) identities.set(key, issueCertificate(key));
    });

    const transport = (hostKey: HostKey, forced: Forced = {}): Transport => {
      const certificate = identities.get(hostKey);
      assert(certificate !== undefined);
      const { secureChannels = SECURE, muxers = MUXERS, limits = {} } = forced;
      return make({ hostKey, tls: certificate, secureChannels, muxers, limits });
    };

    const bind = async (
      t: TestContext,
      forced: Forced = {},
      host = '/ip4/127.0.0.1',
    ): Promise<Bound> => {
      const refused = inbox<Error>();
      const accepted: TransportConnection[] = [];
      let wake = (): void => {};
      const listener = await transport(theirs, forced).listen(multiaddr(`${host}/tcp/0${suffix}`), {
        onConnection: (connection) => {
          accepted.push(connection);
          wake();
        },
        onRefused: (error) => refused.push(error),
      });
      t.after(() => listener.close());
      const acceptedFrom = async ({ localAddress }: Pick<TransportConnection, 'localAddress'>) => {
        for (;;) {
          const found = accepted.find((it) => it.remoteAddress.equals(localAddress));
          if (found !== undefined) return found;
          await new Promise<void>((go) => {
            wake = go;
          });
        }
      };
      return { listener, acceptedFrom, acceptedCount: () => accepted.length, refused };
    };

    const dial = async (
      t: TestContext,
      address: Multiaddr,
      forced: Forced = {},
      expectedPeer: PeerId | undefined = theirPeer,
      signal = AbortSignal.timeout(20_000),
    ): Promise<TransportConnection> => {
      const connection = await transport(ours, forced).dial(address, { expectedPeer, signal });
      t.after(() => connection.close());
      return connection;
    };

    const pair = async (t: TestContext, forced: Forced = {}, theirForced: Forced = forced) => {
      const bound = await bind(t, theirForced);
      const dialed = await dial(t, bound.listener.address, forced);
      return { ...bound, dialed, accepted: await bound.acceptedFrom(dialed) };
    };

    const assertEchoes = async (
      from: TransportConnection,
      to: TransportConnection,
    ): Promise<void> => {
      const stream = await from.openStream();
      stream.write(Buffer.from('are you there'));
      stream.closeWrite();
      const other = await to.acceptStream();
      assert(other !== null);
      await echo(other);
      assert.equal(String(await readAll(stream)), 'are you there');
    };

    /** That the listener still takes connections. */
    /** A good dialer gets in; where the time for upgrades is short and the machine busy, in the end. */
    const assertAlive = async (t: TestContext, bound: Bound): Promise<void> => {
      const dialInTheEnd = async (): ReturnType<typeof dial> => {
        for (;;) {
          try {
            return await dial(t, bound.listener.address);
          } catch (error) {
            if (t.signal.aborted) throw error;
          }
        }
      };
      const dialed = await dialInTheEnd();
      await assertEchoes(dialed, await bound.acceptedFrom(dialed));
    };

    const openSocket = async (t: TestContext, bound: Bound): Promise<Socket> => {
      const { host, port } = hostOf(bound.listener.address);
      const socket = connectSocket(port, host);
      t.after(() => socket.destroy());
      socket.on('error', () => {});
      await once(socket, 'connect');
      return socket;
    };
    const ended = async (socket: Socket): Promise<void> => {
      socket.resume();
      if (!socket.closed) await new Promise((close) => socket.once('close', close));
    };

    for (const secure of SECURE) {
      for (const muxer of MUXERS) {
        test(`${secure} and ${muxer}, both ends forced`, HANG, async (t) => {
          const forced = { secureChannels: [secure], muxers: [muxer] };
          const { dialed, accepted } = await pair(t, forced);
          assert(dialed.remotePeer.equals(theirPeer) && dialed.localPeer.equals(ourPeer));
          assert(accepted.remotePeer.equals(ourPeer) && accepted.localPeer.equals(theirPeer));
          const description = `${kind}/${secure}/${muxer}`;
          assert.deepEqual([dialed.description, accepted.description], [description, description]);
          assert.deepEqual([dialed.role, accepted.role], ['dialer', 'listener']);
          assert.equal(dialed.localAddress.toString(), accepted.remoteAddress.toString());
          assert.equal(dialed.remoteAddress.toString(), accepted.localAddress.toString());
          await assertEchoes(dialed, accepted);
          await assertEchoes(accepted, dialed);
          await accepted.close();
          assert.equal((await dialed.closed).by, 'remote');
        });
      }
    }

    test('the dialer’s first choice of both is taken', HANG, async (t) => {
      const { dialed } = await pair(
        t,
        { secureChannels: ['tls', 'noise'], muxers: ['mplex', 'yamux'] },
        { secureChannels: ['noise', 'tls'], muxers: ['yamux', 'mplex'] },
      );
      assert.equal(dialed.description, `${kind}/tls/mplex`);
    });

    test('an address that does not name the peer accepts whoever answers', HANG, async (t) => {
      const { listener } = await bind(t);
      const signal = AbortSignal.timeout(20_000);
      const options = { expectedPeer: undefined, signal };
      const dialed = await transport(ours).dial(listener.address, options);
      assert(dialed.remotePeer.equals(theirPeer));
      await dialed.close();
    });

    test('IPv6', HANG, async (t) => {
      if (!(await hasIPv6())) {
        t.skip('this machine has no IPv6');
        return;
      }
      const bound = await bind(t, {}, '/ip6/::1');
      assert.match(bound.listener.address.toString(), /^\/ip6\/::1\/tcp\/[1-9]/);
      const dialed = await dial(t, bound.listener.address);
      assert.match(dialed.localAddress.toString(), /^\/ip6\/::1\/tcp\/[1-9]/);
      await assertEchoes(dialed, await bound.acceptedFrom(dialed));
    });

    test('a name', HANG, async (t) => {
      const bound = await bind(t);
      const { port } = hostOf(bound.listener.address);
      const dialed = await dial(t, multiaddr(`/dns4/localhost/tcp/${port}${suffix}`));
      await assertEchoes(dialed, await bound.acceptedFrom(dialed));
    });

    for (const [what, dialer, listener] of [
      ['secure channel', { secureChannels: ['noise'] }, { secureChannels: ['tls'] }],
      ['secure channel', { secureChannels: ['tls'] }, { secureChannels: ['noise'] }],
      [
        'muxer under noise',
        { secureChannels: ['noise'], muxers: ['yamux'] },
        { muxers: ['mplex'] },
      ],
    ] as [string, Forced, Forced][]) {
      test(`no common ${what}: both sides say so`, HANG, async (t) => {
        const bound = await bind(t, listener);
        const error = await rejection(dial(t, bound.listener.address, dialer));
        assert(isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED'), String(error));
        await bound.refused.next();
        assert.equal(bound.acceptedCount(), 0);
      });
    }

    test('no common muxer under tls: both sides say so', HANG, async (t) => {
      const bound = await bind(t, { muxers: ['mplex'] });
      const use = async (): Promise<unknown> => {
        const dialed = await dial(t, bound.listener.address, {
          secureChannels: ['tls'],
          muxers: ['yamux'],
        });
        const stream = await dialed.openStream();
        stream.write(Buffer.from('x'));
        return stream.read();
      };
      assert(has('ERR_PROTOCOL_NOT_SUPPORTED')(await rejection(use())));
      assert(has('ERR_PROTOCOL_NOT_SUPPORTED')(await bound.refused.next()));
    });

    for (const secure of SECURE) {
      test(`another peer than the one dialled is refused (${secure})`, HANG, async (t) => {
        const bound = await bind(t);
        const dialing = dial(t, bound.listener.address, { secureChannels: [secure] }, stranger);
        assert(has('ERR_PEER_ID_MISMATCH')(await rejection(dialing)));
        await assertAlive(t, bound);
      });
    }

    test('addresses of other kinds are refused', HANG, async () => {
      const one = transport(ours);
      const other = multiaddr('/ip4/127.0.0.1/udp/1/quic-v1');
      assert.equal(one.handles(other), false);
      assert.equal(one.handles(multiaddr(`/ip4/1.2.3.4/tcp/1${suffix}`)), true);
      assert.equal(one.handles(multiaddr(`/dns6/x.y/tcp/1${suffix}/p2p/${theirPeer}`)), true);
      const signal = AbortSignal.timeout(20_000);
      const dialing = one.dial(other, { expectedPeer: undefined, signal });
      assert(has('ERR_ADDRESS')(await rejection(dialing)));
    });

    test('nobody listens: ERR_DIAL', HANG, async (t) => {
      const { listener } = await bind(t);
      await listener.close();
      assert(has('ERR_DIAL')(await rejection(dial(t, listener.address))));
    });

    test('an address in use: ERR_LISTEN', HANG, async (t) => {
      const { listener } = await bind(t);
      const second = transport(theirs).listen(listener.address, {
        onConnection: () => {},
        onRefused: () => {},
      });
      assert(has('ERR_LISTEN')(await rejection(second)));
    });

    test('a dial can be aborted, before and while it runs', HANG, async (t) => {
      const bound = await bind(t);
      const aborted = dial(t, bound.listener.address, {}, theirPeer, AbortSignal.abort());
      assert(has('ERR_ABORTED')(await rejection(aborted)));
      // After so many turns of the event loop: it may be over by then.
      for (const turns of [0, 1, 2, 4, 8, 16]) {
        const controller = new AbortController();
        const dialing = dial(t, bound.listener.address, {}, theirPeer, controller.signal);
        dialing.catch(() => {});
        for (let i = 0; i < turns; i++) await nextTurn();
        controller.abort();
        await dialing.then(
          (connection) => connection.close(),
          (error) => assert(has('ERR_ABORTED')(error), String(error)),
        );
      }
      await assertAlive(t, bound);
    });

    test('a listener that says nothing: ERR_TIMEOUT', HANG, async (t) => {
      const bound = await bind(t);
      const { port } = hostOf(bound.listener.address);
      const { createServer } = await import('node:net');
      const silent = createServer((socket) => socket.on('error', () => {}).resume());
      silent.listen(0, '127.0.0.1');
      await once(silent, 'listening');
      const address = silent.address();
      assert(address !== null && typeof address === 'object' && address.port !== port);
      t.after(() => silent.close());
      const target = multiaddr(`/ip4/127.0.0.1/tcp/${address.port}${suffix}`);
      const error = await rejection(dial(t, target, { limits: { handshakeTimeout: 100 } }));
      assert(isLeanError(error), String(error));
      assert.match(error.message, /took longer|timed out/);
    });

    test('a closed listener closes its connections and takes no more', HANG, async (t) => {
      const { listener, dialed } = await pair(t);
      await Promise.all([listener.close(), listener.close()]);
      assert.equal((await dialed.closed).by, 'remote');
      assert(has('ERR_DIAL')(await rejection(dial(t, listener.address))));
    });

    test('connections over the limit are turned away', HANG, async (t) => {
      const bound = await bind(t, { limits: { maxConnections: 2 } });
      const first = await dial(t, bound.listener.address);
      const second = await dial(t, bound.listener.address);
      await Promise.all([first, second].map(bound.acceptedFrom));
      assert(isLeanError(await rejection(dial(t, bound.listener.address))));
      assert.match((await bound.refused.next()).message, /too many/);
      await first.close();
      // Until the listener has seen the first one's end.
      while ((await dial(t, bound.listener.address).catch(() => undefined)) === undefined);
    });

    test('a peer that is killed: every stream ends', HANG, async (t) => {
      const bound = await bind(t);
      const child = spawn(process.execPath, [peerScript, bound.listener.address.toString()], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      t.after(() => child.kill('SIGKILL'));
      const said = (await once(child.stdout, 'data')) as [Buffer];
      const localAddress = multiaddr(String(said[0]).trim());
      const connection = await bound.acceptedFrom({ localAddress });
      const stream = await connection.acceptStream();
      assert(stream !== null);
      assert((await stream.read()) !== null);
      const reading = (async () => {
        while ((await stream.read()) !== null);
      })();
      const waiting = connection.acceptStream();
      child.kill('SIGKILL');
      assert(has('ERR_CONNECTION_CLOSED')(await rejection(reading)));
      assert.equal(await waiting, null);
      assert.notEqual((await connection.closed).by, 'local');
      await assertAlive(t, bound);
    });

    describe('hostile dialers', { ...SUITE, concurrency: true }, () => {
      // Enough for what a busy machine has to do before the silence begins.
      const SLOW = { limits: { handshakeTimeout: 1_000 } };
      const MULTISTREAM = Buffer.from('\x13/multistream/1.0.0\n');
      const NOISE = Buffer.concat([MULTISTREAM, Buffer.from('\x07/noise\n')]);
      const TLS = Buffer.concat([MULTISTREAM, Buffer.from('\x0b/tls/1.0.0\n')]);

      const stages: readonly [string, Uint8Array][] = [
        ['at the start', Buffer.alloc(0)],
        ['in the multistream header', MULTISTREAM.subarray(0, 9)],
        ['before a proposal', MULTISTREAM],
        ['before the first Noise message', NOISE],
        ['in the first Noise message', Buffer.concat([NOISE, Buffer.from([0, 32, 1, 2, 3])])],
        [
          'before the last Noise message',
          Buffer.concat([NOISE, Buffer.from([0, 32]), Buffer.alloc(32, 9)]),
        ],
        ['before the ClientHello', TLS],
        ['in the ClientHello', Buffer.concat([TLS, Buffer.from([0x16, 3, 1, 2, 0, 1, 0])])],
      ];
      for (const [stage, bytes] of stages) {
        test(`stops ${stage}: dropped when the time is up`, HANG, async (t) => {
          const bound = await bind(t, SLOW);
          const socket = await openSocket(t, bound);
          const raw = await attach(socket);
          raw.write(bytes);
          await ended(socket);
          assert(has('ERR_TIMEOUT')(await bound.refused.next()));
          await assertAlive(t, bound);
        });
      }

      test('trickles one byte at a time: dropped when the time is up', HANG, async (t) => {
        const bound = await bind(t, SLOW);
        const socket = await openSocket(t, bound);
        const raw = await attach(socket);
        let at = 0;
        const drip = setInterval(() => {
          if (!socket.destroyed) raw.write(NOISE.subarray(at, ++at));
        }, 15);
        t.after(() => clearInterval(drip));
        await ended(socket);
        assert(has('ERR_TIMEOUT')(await bound.refused.next()));
        await assertAlive(t, bound);
      });

      const garbage: readonly [string, Uint8Array][] = [
        ['HTTP', Buffer.from(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(99)}\r\n\r\n`)],
        ['a huge length', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x03])],
        ['a length without end', Buffer.alloc(64, 0xff)],
        ['zeroes', Buffer.alloc(1_000)],
        ['Noise of low order', Buffer.concat([NOISE, Buffer.from([0, 32]), Buffer.alloc(32)])],
        ['garbage for a ClientHello', Buffer.concat([TLS, Buffer.alloc(600, 0x41)])],
        [
          'endless proposals',
          Buffer.concat([MULTISTREAM, ...Array(100).fill(Buffer.from('\x03/x\n'))]),
        ],
      ];
      for (const [what, bytes] of garbage) {
        test(`sends ${what}`, HANG, async (t) => {
          const bound = await bind(t);
          const socket = await openSocket(t, bound);
          const raw = await attach(socket);
          raw.write(bytes);
          await ended(socket);
          assert(isLeanError(await bound.refused.next()));
          await assertAlive(t, bound);
        });
      }

      test(
        'connects without end: upgrades are bounded, and others get in again',
        HANG,
        async (t) => {
          const bound = await bind(t, { limits: { handshakeTimeout: 3_000, maxPending: 8 } });
          const sockets = await Promise.all(Array.from({ length: 40 }, () => openSocket(t, bound)));
          for (let i = 0; i < 32; i++)
            assert.match((await bound.refused.next()).message, /too many/);
          await Promise.all(sockets.map(ended));
          await assertAlive(t, bound);
        },
      );
    });

    for (const [secure, muxer] of streams) {
      streamSuite(`streams over ${kind}/${secure}/${muxer}`, {
        independent: muxer === 'yamux',
        resetCodes: muxer === 'yamux',
        connect: async (t) => {
          const { dialed, accepted } = await pair(t, { secureChannels: [secure], muxers: [muxer] });
          return { dialed, accepted };
        },
      });
    }
  });
};
