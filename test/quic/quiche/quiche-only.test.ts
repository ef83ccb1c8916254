/** What only the quiche engine does itself: Retry, version negotiation, recovery of quiche's oddities. */

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import test, { before, describe, type TestContext } from 'node:test';
import { isLeanError } from '../../../src/errors.ts';
import type {
  DialOptions,
  ListenOptions,
  QuicConnection,
  QuicEngine,
} from '../../../src/quic/engine.ts';
import { quicheEngine } from '../../../src/quic/quiche/engine.ts';
import type { SocketAddress } from '../../../src/socket-address.ts';
import type { TlsCredentials } from '../../../src/tls/credentials.ts';
import { lossyRelay } from '../../support/lossy-relay.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';
import { echo, type Inbox, inbox, readAll, rejection } from '../../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };
/** How long an answer is waited for that has to come, and one that must not; milliseconds. */
const ANSWERED = 30_000;
const SILENT = 300;

describe('the quiche engine alone', () => {
  let engine: QuicEngine;
  let credentials: TlsCredentials;
  before(async () => {
    engine = await quicheEngine();
    credentials = await issueTestCredentials('quiche');
  });

  const authenticate = (): void => {};

  const listen = async (
    t: TestContext,
    limits: NonNullable<ListenOptions['limits']> = {},
    host = '127.0.0.1',
  ): Promise<{ address: SocketAddress; accepted: Inbox<QuicConnection> }> => {
    const accepted = inbox<QuicConnection>();
    const listener = await engine.listen({
      address: { host, port: 0 },
      credentials,
      authenticate,
      onConnection: accepted.push,
      limits,
    });
    t.after(() => listener.close());
    return { address: listener.address, accepted };
  };

  const dial = async (
    t: TestContext,
    address: SocketAddress,
    limits: NonNullable<DialOptions['limits']> = {},
  ): Promise<QuicConnection> => {
    const connection = await engine.dial(address, { credentials, authenticate, limits });
    t.after(() => connection.close());
    return connection;
  };

  /** Sends one datagram and resolves with the first answer, or `undefined` after `wait` ms. */
  const ask = async (
    to: SocketAddress,
    packet: Buffer,
    wait = ANSWERED,
  ): Promise<Buffer | undefined> => {
    const socket = createSocket('udp4');
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        socket.once('message', resolve);
        socket.once('error', reject);
        socket.send(packet, to.port, to.host);
        timer = setTimeout(resolve, wait, undefined);
      });
    } finally {
      clearTimeout(timer);
      socket.close();
    }
  };

  /** An Initial-like long header of `version`, padded to `length`. */
  const longHeader = (version: number, length: number): Buffer => {
    const packet = Buffer.alloc(length);
    packet[0] = 0xc3;
    packet.writeUInt32BE(version, 1);
    packet[5] = 8;
    packet.fill(0x11, 6, 14);
    packet[14] = 8;
    packet.fill(0x22, 15, 23);
    return packet;
  };

  test('under load a client proves its address with a Retry, and gets in', HANG, async (t) => {
    const { address, accepted } = await listen(t, { retryAbove: 0 });
    const dialed = await dial(t, address);
    const peer = await accepted.next();
    const stream = await dialed.openStream();
    stream.write(Buffer.from('after retry'));
    stream.closeWrite();
    const remote = await peer.acceptStream();
    assert.ok(remote);
    assert.equal((await readAll(remote)).toString(), 'after retry');
  });

  test('a Retry carries no state: an Initial under load is answered with one', HANG, async (t) => {
    const { address } = await listen(t, { retryAbove: 0 });
    const answer = await ask(address, longHeader(1, 1200));
    assert.ok(answer !== undefined, 'a Retry');
    assert.equal((answer[0] ?? 0) & 0xf0, 0xf0, 'long header, type Retry');
    assert.ok(answer.length < 200);
  });

  test('an unknown version is answered with Version Negotiation', HANG, async (t) => {
    const { address } = await listen(t);
    const answer = await ask(address, longHeader(0x1a2a3a4a, 1200));
    assert.ok(answer !== undefined);
    assert.equal(answer.readUInt32BE(1), 0);
    const offered = [];
    for (let at = 23; at + 4 <= answer.length; at += 4) offered.push(answer.readUInt32BE(at));
    assert.ok(offered.includes(1), 'QUIC v1 is offered');
  });

  test(
    'no answer, so no amplification, to what is too short or already an answer',
    HANG,
    async (t) => {
      const { address } = await listen(t, { retryAbove: 0 });
      assert.equal(await ask(address, longHeader(1, 1199), SILENT), undefined);
      assert.equal(await ask(address, longHeader(0x1a2a3a4a, 600), SILENT), undefined);
      assert.equal(await ask(address, longHeader(0, 1200), SILENT), undefined);
    },
  );

  test('maxConnections: one more is not taken, until one has gone', HANG, async (t) => {
    const { address, accepted } = await listen(t, { maxConnections: 1 });
    const first = await dial(t, address);
    await accepted.next();
    const refused = await rejection(dial(t, address, { handshakeTimeout: 500 }));
    assert.ok(isLeanError(refused, 'ERR_TIMEOUT'), String(refused));
    await first.close();
    await dial(t, address);
  });

  const others = Object.values(networkInterfaces()).flatMap((them) => them ?? []);
  const outside = others.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
  for (const [what, host, longest] of [
    ['of the loopback interface', '127.0.0.1', 16_336],
    ['of an Ethernet, elsewhere', outside, 1452],
  ] as const) {
    const options = { ...HANG, skip: host === undefined && 'no address but loopback' };
    test(`datagrams grow to the size ${what}`, options, async (t) => {
      const { address, accepted } = await listen(t, {}, host);
      const relay = await lossyRelay(address, 0, 1);
      t.after(() => relay.close());
      const dialed = await dial(t, relay.address);
      const peer = await accepted.next();
      const sent = Buffer.alloc(1 << 20, 'a datagram');
      for (const [from, to] of [
        [dialed, peer],
        [peer, dialed],
      ] as const) {
        const stream = await from.openStream();
        stream.write(sent);
        stream.closeWrite();
        const received = await to.acceptStream();
        assert.ok(received);
        assert.ok(sent.equals(await readAll(received)));
        received.closeWrite();
      }
      assert.equal(relay.longest(), longest);
    });
  }

  test('close() in the middle of an upload reaches the peer', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    for (let i = 0; i < 10; i++) {
      const dialed = await dial(t, address);
      const peer = await accepted.next();
      const stream = await dialed.openStream();
      const upload = async (): Promise<void> => {
        for (;;) if (!stream.write(Buffer.alloc(65_536))) await stream.drain();
      };
      const uploading = rejection(upload());
      const remote = await peer.acceptStream();
      assert.ok(remote);
      for (let bytes = 0; bytes < i * 500_000; ) bytes += (await remote.read())?.length ?? 0;
      await dialed.close(7, 'enough');
      assert.equal((await peer.closed).reason, 'enough');
      assert.ok(isLeanError(await uploading, 'ERR_CONNECTION_CLOSED'));
    }
  });

  test('streams that end in every way give their credit back', HANG, async (t) => {
    const { address, accepted } = await listen(t, { maxStreams: 8 });
    const dialed = await dial(t, address);
    const peer = await accepted.next();
    const serve = async (): Promise<void> => {
      for (let i = 0; ; i++) {
        const stream = await peer.acceptStream();
        if (stream === null) return;
        if (i % 4 === 1) stream.reset(1);
        else if (i % 4 === 2) stream.stopSending(2);
        if (i % 4 !== 1) echo(stream).catch(() => stream.reset(3));
      }
    };
    serve().catch(() => {});
    for (let i = 0; i < 400; i++) {
      const stream = await dialed.openStream(AbortSignal.timeout(10_000));
      stream.write(Buffer.from(`stream ${i}`));
      if (i % 3 === 0) stream.reset(4);
      else if (i % 3 === 1) stream.closeWrite();
      if (i % 3 === 2) await stream.read().catch(() => {});
      else await readAll(stream).catch(() => {});
      stream.reset(5);
    }
  });

  test('64 streams come through a network that loses 5 % of the packets', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const relay = await lossyRelay(address, 0.05, 7);
    t.after(() => relay.close());
    const dialed = await dial(t, relay.address);
    const peer = await accepted.next();
    const serve = async (): Promise<void> => {
      for (;;) {
        const stream = await peer.acceptStream();
        if (stream === null) return;
        echo(stream).catch(() => {});
      }
    };
    serve().catch(() => {});
    await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const message = Buffer.alloc(20_000, i);
        const stream = await dialed.openStream();
        stream.write(message);
        stream.closeWrite();
        assert.deepEqual(await readAll(stream), message);
      }),
    );
    assert.ok(relay.dropped() > 0, 'some packets were lost');
  });
});
