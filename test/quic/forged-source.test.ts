/** Datagrams from sources that nobody can answer to, which anybody can forge. */

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { isBuiltin } from 'node:module';
import test, { before, describe, type TestContext } from 'node:test';
import type { QuicConnection, QuicEngine } from '../../src/quic/engine.ts';
import type { QuicLimits } from '../../src/quic/limits.ts';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { quinnEngine } from '../../src/quic/quinn/engine.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import { whyNoQuinn } from '../support/engines.ts';
import { type Forge, forger, noForging } from '../support/forge.ts';
import { issueTestCredentials, type TestCredentials } from '../support/quic-credentials.ts';
import { echo, hasIPv6, type Inbox, inbox, readAll } from '../support/quic-helpers.ts';

const OPTIONS = { timeout: 60_000, skip: noForging };
const authenticate = (): void => {};

const suite = (name: string, load: () => Promise<QuicEngine>): void => {
  describe(`${name}: forged sources`, () => {
    let engine: QuicEngine;
    let quiche: QuicEngine;
    let credentials: TestCredentials;

    before(async () => {
      [engine, quiche] = await Promise.all([load(), quicheEngine()]);
      credentials = await issueTestCredentials('forged');
    });

    interface Bound {
      readonly address: SocketAddress;
      readonly accepted: Inbox<QuicConnection>;
      /** Why handshakes failed. */
      readonly refused: string[];
    }

    const listen = async (
      t: TestContext,
      host = '127.0.0.1',
      limits: Partial<QuicLimits> = {},
    ): Promise<Bound> => {
      const accepted = inbox<QuicConnection>();
      const refused: string[] = [];
      const serve = async (connection: QuicConnection): Promise<void> => {
        for (;;) {
          const stream = await connection.acceptStream();
          if (stream === null) return;
          echo(stream).catch(() => {});
        }
      };
      const listener = await engine.listen({
        address: { host, port: 0 },
        credentials,
        authenticate,
        limits,
        onConnection: (connection) => {
          accepted.push(connection);
          serve(connection).catch(() => {});
        },
        onRefused: ({ message }) => refused.push(message),
      });
      t.after(() => listener.close());
      return { address: listener.address, accepted, refused };
    };

    const dial = async (t: TestContext, address: SocketAddress): Promise<QuicConnection> => {
      const connection = await quiche.dial(address, { credentials, authenticate });
      t.after(() => connection.close());
      return connection;
    };

    const echoes = async (connection: QuicConnection, message: string): Promise<void> => {
      const stream = await connection.openStream(AbortSignal.timeout(10_000));
      stream.write(Buffer.from(message));
      stream.closeWrite();
      assert.equal((await readAll(stream)).toString(), message);
    };

    /** The first datagram of a dial: an Initial that any listener takes. */
    const captureInitial = async (t: TestContext, host: string): Promise<Buffer> => {
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      t.after(() => socket.close());
      await new Promise<void>((resolve) => socket.bind(0, host, resolve));
      const captured = new Promise<Buffer>((resolve) => socket.once('message', resolve));
      const abort = new AbortController();
      const remote = { host, port: socket.address().port };
      quiche.dial(remote, { credentials, authenticate, signal: abort.signal }).catch(() => {});
      const packet = await captured;
      abort.abort();
      return packet;
    };

    /** Sources that an answer cannot be sent to; `to` stands for the listener's own. */
    const sources = (to: SocketAddress): SocketAddress[] => {
      const hosts = to.host.includes(':')
        ? ['::1', 'ff02::1']
        : ['127.0.0.1', '192.0.2.1', '224.0.0.1', '239.1.2.3', '255.255.255.255', '240.0.0.1'];
      return [
        ...hosts.flatMap((host) => [
          { host, port: 0 },
          { host, port: 4001 },
        ]),
        to,
      ];
    };

    const flood = async (forge: Forge, to: SocketAddress, packet: Buffer): Promise<void> => {
      for (const source of sources(to)) {
        await forge(source, to, packet);
        // One that has another connection id, so that it is a new client for certain.
        const other = Buffer.from(packet);
        other[6] = (other[6] ?? 0) ^ 0xff;
        await forge(source, to, other);
        // A version that is answered with Version Negotiation, and a lost connection's packet.
        other.set([0x1a, 0x2a, 0x3a, 0x4a], 1);
        await forge(source, to, other);
        other[0] = 0x40;
        await forge(source, to, other);
      }
    };

    for (const host of ['127.0.0.1', '::1']) {
      for (const limits of [{}, { retryAbove: 0 }]) {
        const how = 'retryAbove' in limits ? 'with Retry' : 'without Retry';
        test(`a listener on ${host} outlives every forged source, ${how}`, OPTIONS, async (t) => {
          if (host === '::1' && !(await hasIPv6())) return t.skip('this machine has no ::1');
          const { address } = await listen(t, host, limits);
          const forge = forger(t);
          const packet = await captureInitial(t, host);
          await flood(forge, address, packet);
          const before = await dial(t, address);
          await echoes(before, 'after the first flood');
          // Now that a connection is there, and its address known.
          await flood(forge, address, await captureInitial(t, host));
          await echoes(before, 'after the second flood');
          await echoes(await dial(t, address), 'a new connection');
        });
      }
    }

    test('nothing is kept of such datagrams: no handshake is under way', OPTIONS, async (t) => {
      const { address, refused } = await listen(t, '127.0.0.1', { maxPending: 1 });
      const forge = forger(t);
      const packet = await captureInitial(t, '127.0.0.1');
      for (const host of ['127.0.0.1', '0.0.0.1', '224.0.0.1', '239.1.2.3', '255.255.255.255']) {
        const port = host === '127.0.0.1' ? 0 : 4001;
        await forge({ host, port }, address, packet);
      }
      await echoes(await dial(t, address), 'there is room');
      // A handshake that was kept would have been evicted for this one.
      assert.deepEqual(refused, []);
    });

    test('a group that never asked hears nothing', OPTIONS, async (t) => {
      const { address } = await listen(t);
      const group = await joinGroup(t);
      // Both directions of a control: what a socket there sends to the group would arrive.
      const control = createSocket('udp4');
      t.after(() => control.close());
      await new Promise<void>((resolve) => control.bind(0, address.host, resolve));
      const say = (word: string): void =>
        control.send(word, group.address.port, group.address.host);
      say('heard');
      if (!(await group.hears('heard'))) return t.skip('multicast does not come back here');
      await forger(t)(group.address, address, await captureInitial(t, address.host));
      await echoes(await dial(t, address), 'whatever was to be answered is answered');
      say('last');
      assert.ok(await group.hears('last'));
      assert.deepEqual(group.heard(), ['heard', 'last']);
    });

    test('a connection whose packets come from port 0 all at once', OPTIONS, async (t) => {
      const { address, accepted } = await listen(t);
      const forge = forger(t);
      const other = await dial(t, address);
      for (const host of ['127.0.0.1', '127.0.0.77', '224.0.0.1', '255.255.255.255']) {
        // A relay that forwards, and once there is a `source` forges that of what the client sends. Each client has
        // its own: what is late from an earlier one would draw the answers to itself.
        const front = createSocket('udp4');
        const back = createSocket('udp4');
        t.after(() => {
          front.close();
          back.close();
        });
        let client = { host: '', port: 0 };
        let source: SocketAddress | undefined;
        const forged = inbox<void>();
        front.on('message', (packet, from) => {
          client = { host: from.address, port: from.port };
          if (source === undefined) back.send(packet, address.port, address.host);
          else forge(source, address, packet).then(forged.push, forged.push);
        });
        back.on('message', (packet) => front.send(packet, client.port, client.host));
        await new Promise<void>((resolve) => front.bind(0, '127.0.0.1', resolve));
        const moved = await dial(t, { host: '127.0.0.1', port: front.address().port });
        await echoes(moved, 'before');
        source = { host, port: 0 };
        const stream = await moved.openStream();
        stream.write(Buffer.from('from port 0'));
        await forged.next();
        await forged.next();
        await echoes(other, `after ${host}`);
        source = undefined;
        await echoes(moved, 'back again');
      }
      assert.ok(accepted.size > 0);
      await echoes(await dial(t, address), 'a new connection');
    });
  });
};

interface Group {
  readonly address: SocketAddress;
  /** What has come, as text. */
  heard(): readonly string[];
  /** Whether `word` comes, now or within a second. */
  hears(word: string): Promise<boolean>;
}

/** A member of a multicast group, on a port of its own. */
const joinGroup = async (t: TestContext): Promise<Group> => {
  const socket = createSocket('udp4');
  t.after(() => socket.close());
  await new Promise<void>((resolve) => socket.bind(0, '0.0.0.0', resolve));
  const host = '239.1.2.3';
  socket.addMembership(host, '127.0.0.1');
  const heard: string[] = [];
  const waiting = new Map<string, () => void>();
  socket.on('message', (message) => {
    heard.push(message.toString('latin1'));
    waiting.get(message.toString('latin1'))?.();
  });
  return {
    address: { host, port: socket.address().port },
    heard: () => heard,
    hears: (word) =>
      new Promise((resolve) => {
        if (heard.includes(word)) resolve(true);
        waiting.set(word, () => resolve(true));
        setTimeout(resolve, 1000, false);
      }),
  };
};

suite('quiche', quicheEngine);
if (whyNoQuinn === undefined) suite('quinn', quinnEngine);
else test('forged sources on quinn', { skip: whyNoQuinn });
if (isBuiltin('node:quic')) suite('node:quic', nodeQuicEngine);
else test('forged sources on node:quic', { skip: 'this Node has no node:quic' });
