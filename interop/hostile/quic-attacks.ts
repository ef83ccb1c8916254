/** Attacks on QUIC listeners, with quiche's binding where our engines send valid packets only. */
import { randomBytes, randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { createNode } from '../../src/node/node.ts';
import { IDENTIFY } from '../../src/protocols/identify.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { loadQuiche, type QuicheConfig } from '../../src/quic/quiche/binding.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import type { TlsCredentials } from '../../src/tls/credentials.ts';
import { quic } from '../../src/transports/factories.ts';
import { type Attacks, MULTISTREAM_MESSAGES, pace, repeat, type Target } from './attack.ts';
import {
  certificateWithBadExtensionSignature,
  certificateWithExtensionTwice,
  certificateWithoutExtension,
  certificateWithUnknownCriticalExtension,
  certificateWithWrongSelfSignature,
  expiredCertificate,
  makeCertificate,
  twoCertificates,
  UNKNOWN_OID,
  validCertificate,
} from './certificates.ts';
import { dialHostile } from './hostile-client.ts';
import { neverRead, requestForever } from './stream-attacks.ts';

/** An ALPN that no listener accepts. */
const IDENTIFY_PUSH = '/ipfs/id/push/1.0.0';
const CID_LENGTH = 16;
const LOCAL = { host: '0.0.0.0', port: 1 };

const plainConfig = (): QuicheConfig => {
  const config = loadQuiche().Config.withBoringSslCtx(true, true, null, null, null, null);
  config.setApplicationProtos(['libp2p']);
  config.setMaxRecvUdpPayloadSize(65_527);
  config.setMaxSendUdpPayloadSize(1_200);
  config.setInitialMaxData(1 << 20);
  return config;
};

/** The first packet of a handshake. */
const initialFor = ({ host, port }: Target, config: QuicheConfig): Buffer => {
  const out = Buffer.alloc(1_200);
  const scid = randomBytes(CID_LENGTH);
  const remote = { host, port };
  const connection = loadQuiche().Connection.connect(null, scid, LOCAL, remote, config);
  const [length] = connection.send(out) ?? [0];
  return out.subarray(0, length);
};

const openSockets = (many: number): Promise<Socket[]> =>
  Promise.all(
    Array.from({ length: many }, async () => {
      const socket = createSocket({ type: 'udp4', sendBufferSize: 1 << 20 });
      socket.on('error', () => {});
      socket.bind(0);
      await once(socket, 'listening');
      return socket;
    }),
  );

/** Complete connections; the listener's certificate is not checked. */
const rawDialer = async (target: Target): Promise<() => Promise<QuicConnection>> => {
  const { engine } = await selectEngine('quiche', 'dialer');
  const { certificatePem, privateKeyPem } = validCertificate();
  const credentials = { certificatePem, privateKeyPem };
  return () =>
    engine.dial(
      { host: target.host, port: target.port },
      { credentials, authenticate: () => {}, signal: AbortSignal.timeout(10_000) },
    );
};

/** Values that RFC 9000 section 18.2 forbids, or that make no sense. */
const FORBIDDEN: readonly ((config: QuicheConfig) => void)[] = [
  (config) => config.setInitialMaxStreamsBidi(2 ** 60 + 2 ** 20),
  (config) => config.setInitialMaxStreamsUni(2 ** 61),
  (config) => config.setMaxRecvUdpPayloadSize(100),
  (config) => config.setInitialMaxData(2 ** 62 - 2 ** 20),
  (config) => config.setInitialMaxStreamDataBidiRemote(0),
  (config) => config.setMaxIdleTimeout(2 ** 52),
];

const CERTIFICATES: readonly (() => TlsCredentials | undefined)[] = [
  () => undefined,
  expiredCertificate,
  twoCertificates,
  certificateWithoutExtension,
  certificateWithBadExtensionSignature,
  certificateWithWrongSelfSignature,
  certificateWithUnknownCriticalExtension,
  certificateWithExtensionTwice,
  // Of 14 KB and 60 KB.
  ...[14_000, 60_000].map(
    (size) => () =>
      makeCertificate({
        extensions: (right) => [right, { oid: UNKNOWN_OID, value: randomBytes(size) }],
      }),
  ),
];

export const quicAttacks: Attacks = {
  'quic-half-open': async (target) => {
    const sockets = await openSockets(64);
    const config = plainConfig();
    await pace(10_000, 1_500, (n) => {
      sockets[n % sockets.length]?.send(initialFor(target, config), target.port, target.host);
      target.count('handshakes begun');
    });
  },

  'quic-handshakes': async (target) => {
    const dial = await rawDialer(target);
    const held: QuicConnection[] = [];
    await pace(2_000, 200, () => {
      target.count('begun');
      dial().then(
        (connection) => {
          target.count('complete');
          held.push(connection);
        },
        () => target.count('refused'),
      );
    });
  },

  'quic-replayed-initials': async (target) => {
    const sockets = await openSockets(16);
    const config = plainConfig();
    const initials = Array.from({ length: 20 }, () => initialFor(target, config));
    await pace(20_000, 3_000, (n) => {
      const packet = Buffer.from(initials[n % initials.length] ?? Buffer.alloc(0));
      // Header: flags, version (4), length of the destination's connection id, it, and the source's likewise.
      const length = packet[5] ?? 0;
      if (n % 4 === 1) randomFillSync(packet, 6, length);
      if (n % 4 === 2) randomFillSync(packet, 7 + length, CID_LENGTH);
      if (n % 4 === 3) packet[5] = n % 21;
      sockets[n % sockets.length]?.send(packet, target.port, target.host);
      target.count('packets');
    });
  },

  'quic-garbage': async (target) => {
    const sockets = await openSockets(16);
    await pace(100_000, 12_000, (n) => {
      const packet = randomBytes(20 + (n % 1_400));
      // An unknown version asks for version negotiation; a short header for a stateless reset.
      if (n % 4 === 0) packet.set([0xc0, 0, 0, 0, 1, 8]);
      if (n % 4 === 1) packet.set([0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8]);
      if (n % 4 === 2) packet[0] = 0x40;
      sockets[n % sockets.length]?.send(packet, target.port, target.host);
      target.count('packets');
    });
  },

  'quic-certificates': async (target) => {
    await repeat(target, 'handshakes', 8, async (n) => {
      const credentials = CERTIFICATES[n % CERTIFICATES.length]?.();
      const options = credentials === undefined ? {} : { credentials };
      const { code } = await dialHostile(target, options, 3_000);
      target.count(`closed with ${code}`);
    });
  },

  'quic-transport-parameters': async (target) => {
    const { certificatePem, privateKeyPem } = validCertificate();
    const pem = (text: string): Uint8Array[] => [new TextEncoder().encode(text)];
    await repeat(target, 'handshakes', 8, async (n) => {
      const config = loadQuiche().Config.withBoringSslCtx(
        ...([true, true, null, pem(privateKeyPem), pem(certificatePem), null] as const),
      );
      config.setApplicationProtos(['libp2p']);
      config.setMaxSendUdpPayloadSize(1_200);
      FORBIDDEN[n % FORBIDDEN.length]?.(config);
      await shakeHands(target, config);
    });
  },

  'quic-streams': async (target) => {
    const dial = await rawDialer(target);
    const connections = await Promise.all(Array.from({ length: 4 }, dial));
    await Promise.all(
      connections.map(async (connection) => {
        for (let n = 0; n < 25_000; n++) {
          const stream = await connection.openStream();
          // Only its first byte opens the stream.
          stream.write(Uint8Array.of(0x13));
          target.count('streams');
          if (n % 32 === 0) await delay(1);
        }
      }),
    );
  },

  'quic-resets': async (target) => {
    const dial = await rawDialer(target);
    const connections = await Promise.all(Array.from({ length: 4 }, dial));
    await Promise.all(
      connections.map(async (connection) => {
        for (let n = 0; n < 25_000; n++) {
          const stream = await connection.openStream();
          stream.write(Uint8Array.of(0x13));
          stream.reset(1);
          target.count('streams');
          if (n % 32 === 0) await delay(1);
        }
      }),
    );
  },

  'quic-multistream': async (target) => {
    const dial = await rawDialer(target);
    await repeat(target, 'connections', 4, async () => {
      const connection = await dial();
      for (const message of MULTISTREAM_MESSAGES) {
        const stream = await connection.openStream();
        target.count('messages');
        await Promise.race([writeAll(stream, message).catch(() => {}), delay(200)]);
      }
      connection.close();
    });
  },

  'quic-never-reads': (target) => neverRead(target, 'quic'),

  'quic-identify': async (target) => {
    const node = await createNode({ transports: [quic({ engine: 'quiche' })] });
    const endless = async (stream: Parameters<typeof writeAll>[0]): Promise<void> => {
      // A field of 2^40 bytes: observedAddr.
      await writeAll(stream, Buffer.from('22808080808020', 'hex'));
      for (;;) {
        await writeAll(stream, new Uint8Array(65_536));
        target.count('KiB', 64);
      }
    };
    node.handle(IDENTIFY, endless);
    await repeat(target, 'pushes', 4, async () => {
      const connection = await node.dial(target.multiaddr, { force: true });
      await endless(await connection.newStream(IDENTIFY_PUSH)).finally(() => connection.close());
    });
  },

  'quic-perf': (target) => requestForever(target, 'quic'),
};

/** A handshake with this configuration; ends with it, or after 2 s. */
const shakeHands = async (target: Target, config: QuicheConfig): Promise<void> => {
  const socket = createSocket('udp4');
  socket.on('error', () => {});
  const remote = { host: target.host, port: target.port };
  socket.connect(remote.port, remote.host);
  await once(socket, 'connect');
  const { address, port } = socket.address();
  const local = { host: address, port };
  const connection = loadQuiche().Connection.connect(null, randomBytes(16), local, remote, config);
  const out = Buffer.alloc(1_350);
  const flush = (): void => {
    for (let next = connection.send(out); next !== null; next = connection.send(out)) {
      socket.send(Buffer.from(out.subarray(0, next[0])));
    }
  };
  try {
    flush();
    const end = performance.now() + 2_000;
    socket.on('message', (packet) => {
      try {
        connection.recv(packet, { from: remote, to: local });
        flush();
      } catch {
        // It is over.
      }
    });
    while (performance.now() < end && connection.peerError() === null) {
      if (connection.timeout() === 0) connection.onTimeout();
      flush();
      await delay(10);
    }
    if (connection.peerError() !== null) target.count('closed by the listener');
  } finally {
    socket.close();
  }
};
