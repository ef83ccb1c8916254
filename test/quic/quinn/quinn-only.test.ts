/** What only quinn does, or what its binding has to see to. */

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { before, describe, type TestContext } from 'node:test';
import { isLeanError } from '../../../src/errors.ts';
import type {
  DialOptions,
  ListenOptions,
  QuicConnection,
  QuicEngine,
  QuicListener,
} from '../../../src/quic/engine.ts';
import { quinnDriver } from '../../../src/quic/quinn/driver.ts';
import { quinnEngine } from '../../../src/quic/quinn/engine.ts';
import type { SocketAddress } from '../../../src/socket-address.ts';
import type { TlsCredentials } from '../../../src/tls/credentials.ts';
import { whyNoQuinn } from '../../support/engines.ts';
import { lossyRelay } from '../../support/lossy-relay.ts';
import { issueTestCredentials } from '../../support/quic-credentials.ts';
import {
  echo,
  type Inbox,
  inbox,
  readAll,
  rejection,
  staysPending,
} from '../../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };
/** How long an answer is waited for that has to come, and one that must not; milliseconds. */
const ANSWERED = 30_000;
const SILENT = 300;

describe('the quinn engine alone', { skip: whyNoQuinn ?? false }, () => {
  let engine: QuicEngine;
  let credentials: TlsCredentials;
  before(async () => {
    engine = await quinnEngine();
    credentials = await issueTestCredentials('quinn');
  });

  const authenticate = (): void => {};

  interface Bound {
    readonly listener: QuicListener;
    readonly address: SocketAddress;
    readonly accepted: Inbox<QuicConnection>;
    readonly refused: Inbox<Error>;
  }

  const listen = async (
    t: TestContext,
    limits: NonNullable<ListenOptions['limits']> = {},
    from: QuicEngine = engine,
  ): Promise<Bound> => {
    const accepted = inbox<QuicConnection>();
    const refused = inbox<Error>();
    const listener = await from.listen({
      address: { host: '127.0.0.1', port: 0 },
      credentials,
      authenticate,
      onConnection: accepted.push,
      onRefused: refused.push,
      limits,
    });
    t.after(() => listener.close());
    return { listener, address: listener.address, accepted, refused };
  };

  const dial = async (
    t: TestContext,
    address: SocketAddress,
    options: Partial<DialOptions> = {},
  ): Promise<QuicConnection> => {
    const connection = await engine.dial(address, { credentials, authenticate, ...options });
    t.after(() => connection.close());
    return connection;
  };

  const serveEcho = (connection: QuicConnection): void => {
    const serve = async (): Promise<void> => {
      for (;;) {
        const stream = await connection.acceptStream();
        if (stream === null) return;
        echo(stream).catch(() => {});
      }
    };
    serve().catch(() => {});
  };

  const echoes = async (connection: QuicConnection, message: Buffer): Promise<void> => {
    const stream = await connection.openStream();
    stream.write(message);
    stream.closeWrite();
    assert.deepEqual(await readAll(stream), message);
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

  /** The first datagram of a dial; whoever dials never hears of it again. */
  const captureInitial = async (): Promise<Buffer> => {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    const captured = new Promise<Buffer>((resolve) => socket.once('message', resolve));
    const abort = new AbortController();
    const remote = { host: '127.0.0.1', port: socket.address().port };
    const dialing = engine.dial(remote, { credentials, authenticate, signal: abort.signal });
    dialing.catch(() => {});
    const packet = await captured;
    abort.abort();
    socket.close();
    return packet;
  };

  // ---------------------------------------------------------------- who gets in

  test('under load a client proves its address with a Retry, and gets in', HANG, async (t) => {
    const { address, accepted } = await listen(t, { retryAbove: 0 });
    const dialed = await dial(t, address);
    serveEcho(await accepted.next());
    await echoes(dialed, Buffer.from('after retry'));
  });

  test('Retry begins above retryAbove handshakes, and carries no state', HANG, async (t) => {
    const { address } = await listen(t, { retryAbove: 2 });
    const kinds: number[] = [];
    for (let i = 0; i < 4; i++) {
      const answer = await ask(address, await captureInitial());
      assert.ok(answer !== undefined);
      kinds.push((answer[0] ?? 0) & 0xf0);
      if (i >= 2) assert.ok(answer.length < 200);
    }
    // Long headers of type Initial; then of type Retry (RFC 9000 section 17.2).
    assert.deepEqual(
      kinds.map((kind) => kind & 0xb0),
      [0x80, 0x80, 0xb0, 0xb0],
    );
  });

  test('maxPending: the oldest handshake makes room for the next', HANG, async (t) => {
    const { address, accepted, refused } = await listen(t, { maxPending: 2, retryAbove: 100 });
    for (let i = 0; i < 2; i++) await ask(address, await captureInitial());
    const dialed = await dial(t, address);
    serveEcho(await accepted.next());
    await echoes(dialed, Buffer.from('let in'));
    assert.match((await refused.next()).message, /too many connections: evicted/);
  });

  test(
    'one that is evicted just when its certificate was found to be good is not handed up',
    HANG,
    async (t) => {
      const { listener, address, accepted, refused } = await listen(t);
      const { native, engine: number, listeners } = quinnDriver();
      const handle = [...listeners.keys()].at(-1) ?? 0;
      const { admit } = native;
      // The network thread may do so between any two calls of ours.
      const evicting = t.mock.method(native, 'admit', (engine: number, connection: number) => {
        // The dialer's connection may be admitted first.
        const isDialer = native.remoteAddress(engine, connection)?.port === address.port;
        if (!isDialer && native.pending(engine, handle) > 0) {
          native.evictOldest(engine, handle);
          const until = performance.now() + ANSWERED;
          while (native.remoteAddress(engine, connection) !== null) {
            assert.ok(performance.now() < until, 'it is evicted');
          }
          evicting.mock.restore();
        }
        admit(engine, connection);
      });
      const dialled = await dial(t, address);
      assert.match((await refused.next()).message, /evicted/);
      await dialled.closed;
      assert.equal(accepted.size, 0);
      assert.equal(native.pending(number, handle), 0);
      await listener.close();
    },
  );

  test('a client that goes silent is forgotten after handshakeTimeout', HANG, async (t) => {
    const { address, refused } = await listen(t, { handshakeTimeout: 200 });
    await ask(address, await captureInitial(), 10);
    const error = await refused.next();
    assert.ok(isLeanError(error, 'ERR_TIMEOUT'), String(error));
  });

  test('maxConnections: one more is refused, until one has gone', HANG, async (t) => {
    const { address, accepted } = await listen(t, { maxConnections: 1 });
    const first = await dial(t, address);
    const peer = await accepted.next();
    const error = await rejection(dial(t, address));
    assert.ok(isLeanError(error, 'ERR_DIAL'), String(error));
    await first.close();
    await peer.closed;
    await dial(t, address);
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

  test('no answer, so no amplification, to what is too short', HANG, async (t) => {
    const { address } = await listen(t, { retryAbove: 0 });
    assert.equal(await ask(address, longHeader(1, 1199), SILENT), undefined);
    assert.equal(await ask(address, longHeader(0x1a2a3a4a, 600), SILENT), undefined);
    assert.equal(await ask(address, longHeader(0, 1200), SILENT), undefined);
  });

  // ---------------------------------------------------------------- certificates

  test('whoever has not the key of the certificate it shows is found out', HANG, async (t) => {
    const stolen = await issueTestCredentials('stolen');
    const { certificatePem } = stolen;
    const forged = { certificatePem, privateKeyPem: credentials.privateKeyPem };
    // quinn would not lend itself to that.
    const own = await rejection(
      engine.dial({ host: '127.0.0.1', port: 1 }, { credentials: forged, authenticate }),
    );
    assert.ok(isLeanError(own, 'ERR_KEY_MALFORMED'), String(own));

    const forger = await quinnEngine({ forge: true });
    const shouldNotAsk = (): void => assert.fail('nothing is to be judged');
    const accepted = inbox<QuicConnection>();
    const refused = inbox<Error>();
    const honest = await engine.listen({
      address: { host: '127.0.0.1', port: 0 },
      credentials,
      authenticate: shouldNotAsk,
      onConnection: accepted.push,
      onRefused: refused.push,
    });
    t.after(() => honest.close());
    // The dialer's handshake may be over before the listener looks at its certificate.
    const dialing = forger.dial(honest.address, { credentials: forged, authenticate });
    const end = await dialing.then(
      async (connection) => (await connection.closed).reason,
      (error) => String(error),
    );
    assert.match(end, /BadSignature|decrypt_error/);
    const why = await refused.next();
    assert.ok(isLeanError(why, 'ERR_HANDSHAKE'), String(why));
    assert.equal(accepted.size, 0);

    const impostor = await forger.listen({
      address: { host: '127.0.0.1', port: 0 },
      credentials: forged,
      authenticate,
      onConnection: accepted.push,
    });
    t.after(() => impostor.close());
    const error = await rejection(
      engine.dial(impostor.address, { credentials, authenticate: shouldNotAsk }),
    );
    assert.ok(isLeanError(error, 'ERR_HANDSHAKE'), String(error));
    assert.match(error.message, /BadSignature/);
    assert.equal(accepted.size, 0);
  });

  // ---------------------------------------------------------------- sockets

  test('dials share a socket, which outlives those that failed', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const first = await dial(t, address);
    const failed = await rejection(
      dial(t, { host: '127.0.0.1', port: 9 }, { limits: { handshakeTimeout: 100 } }),
    );
    assert.ok(isLeanError(failed), String(failed));
    const second = await dial(t, address);
    assert.deepEqual(second.localAddress, first.localAddress);
    await first.close();
    await accepted.next();
    serveEcho(await accepted.next());
    await echoes(second, Buffer.from('still there'));
  });

  test('where nobody can be: ERR_DIAL or ERR_ADDRESS at once', HANG, async (t) => {
    for (const [host, port, code] of [
      ['127.0.0.1', 0, 'ERR_DIAL'],
      ['0.0.0.0', 0, 'ERR_DIAL'],
      ['example.org', 4001, 'ERR_ADDRESS'],
      ['', 4001, 'ERR_ADDRESS'],
    ] as const) {
      const error = await rejection(dial(t, { host, port }));
      assert.ok(isLeanError(error, code), `${host} ${port}: ${error}`);
    }
    const options = { credentials, authenticate, onConnection() {} };
    const address = { host: 'localhost', port: 0 };
    const error = await rejection(engine.listen({ ...options, address }));
    assert.ok(isLeanError(error, 'ERR_ADDRESS'), String(error));
  });

  test(
    'datagrams begin at 1200 bytes and grow to what the path is found to carry',
    HANG,
    async (t) => {
      const { address, accepted } = await listen(t);
      const relay = await lossyRelay(address, 0, 1);
      t.after(() => relay.close());
      const dialed = await dial(t, relay.address);
      serveEcho(await accepted.next());
      assert.equal((await captureInitial()).length, 1200);
      for (let i = 0; i < 20; i++) await echoes(dialed, Buffer.alloc(1 << 17, i));
      assert.equal(dialed.stats?.()?.datagramSize, 1452);
      assert.ok(relay.longest() <= 1472);
    },
  );

  // ---------------------------------------------------------------- streams and connections

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
      // What was cut off must not look finished.
      const reading = (async () => {
        for (;;) if ((await remote.read()) === null) return;
      })();
      assert.ok(isLeanError(await rejection(reading), 'ERR_CONNECTION_CLOSED'));
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

  test('a peer may open 48 streams, and maxStreams when it has half of those', HANG, async (t) => {
    const { address } = await listen(t, { maxStreams: 300 });
    const dialed = await dial(t, address);
    const first = await Promise.all(Array.from({ length: 48 }, () => dialed.openStream()));
    const rest = Array.from({ length: 252 }, () => dialed.openStream());
    // Those below it are open with it (RFC 9000 section 3.2): 23 of them, then half.
    first[22]?.write(Buffer.from('!'));
    assert.ok(await staysPending(Promise.all(rest)));
    first[23]?.write(Buffer.from('!'));
    await Promise.all(rest);
    assert.ok(await staysPending(dialed.openStream()));
  });

  test('256 streams at once, each written to when it is open', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const dialed = await dial(t, address);
    serveEcho(await accepted.next());
    const open = async () => {
      const stream = await dialed.openStream();
      stream.write(Buffer.from('!'));
      return stream;
    };
    const streams = await Promise.all(Array.from({ length: 256 }, open));
    for (const stream of streams) {
      stream.closeWrite();
      assert.equal((await readAll(stream)).toString(), '!');
    }
  });

  test('maxStreams below 48 is the limit from the beginning', HANG, async (t) => {
    const { address } = await listen(t, { maxStreams: 20 });
    const dialed = await dial(t, address);
    const streams = await Promise.all(Array.from({ length: 20 }, () => dialed.openStream()));
    for (const stream of streams) stream.write(Buffer.from('!'));
    assert.ok(await staysPending(dialed.openStream()));
  });

  test('more short answers than the connection window holds', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const limits = { connectionWindow: 1 << 16, streamWindow: 1 << 16 };
    const dialed = await dial(t, address, { limits });
    serveEcho(await accepted.next());
    for (let i = 0; i < 400; i++) await echoes(dialed, Buffer.alloc(500, i));
  });

  test('64 streams come through a network that loses 5 % of the packets', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const relay = await lossyRelay(address, 0.05, 7);
    t.after(() => relay.close());
    const dialed = await dial(t, relay.address);
    serveEcho(await accepted.next());
    await Promise.all(
      Array.from({ length: 64 }, (_, i) => echoes(dialed, Buffer.alloc(20_000, i))),
    );
    assert.ok(relay.dropped() > 0, 'some packets were lost');
    assert.ok((dialed.stats?.()?.lostPackets ?? 0) > 0, 'and counted');
  });

  test('what arrived before the peer closed can still be read', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const dialed = await dial(t, address);
    const peer = await accepted.next();
    const stream = await dialed.openStream();
    stream.write(Buffer.alloc(100_000, 'last words'));
    const remote = await peer.acceptStream();
    assert.ok(remote);
    const first = await remote.read();
    await dialed.close();
    await peer.closed;
    let bytes = first?.length ?? 0;
    const reading = (async () => {
      for (;;) bytes += (await remote.read())?.length ?? 0;
    })();
    assert.ok(isLeanError(await rejection(reading), 'ERR_CONNECTION_CLOSED'));
    assert.ok(bytes > 0 && bytes <= 100_000);
  });

  test('a writer that does not wait is closed at connectionMemory', HANG, async (t) => {
    const { address, accepted } = await listen(t, { streamWindow: 1 << 16 });
    const dialed = await dial(t, address, { limits: { connectionMemory: 4 << 20 } });
    const peer = await accepted.next();
    const stream = await dialed.openStream();
    const chunk = Buffer.alloc(1 << 16);
    for (let written = 0; written < 8 << 20; written += chunk.length) stream.write(chunk);
    assert.equal((await dialed.closed).code, 0x1001);
    assert.equal((await peer.closed).code, 0x1001);
  });

  test('a peer that takes nothing gets its stream reset', HANG, async (t) => {
    const { address, accepted } = await listen(t, { streamWindow: 1 << 16 });
    const dialed = await dial(t, address, { limits: { stallTimeout: 300 } });
    const peer = await accepted.next();
    const stream = await dialed.openStream();
    const fill = async (): Promise<void> => {
      for (;;) if (!stream.write(Buffer.alloc(1 << 14))) await stream.drain();
    };
    assert.ok(isLeanError(await rejection(fill()), 'ERR_TIMEOUT'));
    const remote = await peer.acceptStream();
    assert.ok(remote);
    const reading = (async () => {
      for (;;) await remote.read();
    })();
    assert.ok(isLeanError(await rejection(reading), 'ERR_STREAM_RESET'));
    serveEcho(peer);
    await echoes(dialed, Buffer.from('others are not concerned'));
  });

  test('statistics count what was sent', HANG, async (t) => {
    const { address, accepted } = await listen(t);
    const dialed = await dial(t, address);
    serveEcho(await accepted.next());
    await echoes(dialed, Buffer.alloc(1 << 20));
    const stats = dialed.stats?.();
    assert.ok(stats !== undefined);
    assert.ok(stats.sentBytes > 1 << 20 && stats.receivedBytes > 1 << 20);
    assert.ok(stats.rtt > 0 && stats.minRtt <= stats.rtt && stats.congestionWindow > 0);
    await dialed.close();
    assert.ok((dialed.stats?.()?.sentBytes ?? 0) >= stats.sentBytes, 'after the end as well');
  });

  // ---------------------------------------------------------------- traces

  test('keyLog and qlog get a trace of each side', HANG, async (t) => {
    const directory = await mkdtemp(path.join(tmpdir(), 'quinn-'));
    t.after(() => rm(directory, { recursive: true }));
    const keyLog = path.join(directory, 'keys');
    const traced = await quinnEngine({ keyLog, qlog: directory });
    // Known to the other engine already, which must not matter.
    const { address, accepted, listener } = await listen(t, {}, traced);
    const options: DialOptions = { credentials, authenticate };
    const dialed = await traced.dial(address, options);
    serveEcho(await accepted.next());
    await echoes(dialed, Buffer.from('traced'));
    await dialed.close();
    await listener.close();
    const labels = (await readFile(keyLog, 'utf8')).split('\n').map((line) => line.split(' ')[0]);
    assert.ok(labels.includes('CLIENT_TRAFFIC_SECRET_0'), labels.join());
    for (const role of ['dialer', 'listener']) {
      const name = (await readdir(directory)).find((file) => file.endsWith(`${role}.sqlog`));
      assert.ok(name !== undefined, role);
      const trace = path.join(directory, name);
      const records = (await waitFor(trace)).split('\x1e').slice(1);
      assert.ok(records.length > 2, `${role}: ${records.length} records`);
      for (const record of records) JSON.parse(record);
    }
  });
});

/** The content of a file, once it is there: it is written when quinn forgets the connection. */
const waitFor = async (file: string): Promise<string> => {
  for (let looks = 0; looks < 1_500; looks++) {
    const text = await readFile(file, 'utf8');
    if (text !== '') return text;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${file} is empty`);
};
