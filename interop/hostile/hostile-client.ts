/**
 * A QUIC client that presents any certificate and ALPN to a listener. It drives quiche's binding directly,
 * as the engine sends valid ones only.
 */

import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { loadQuiche } from '../../src/quic/quiche/binding.ts';
import type { SocketAddress } from '../../src/socket-address.ts';
import type { TlsCredentials } from '../../src/tls/credentials.ts';

export interface HostileOptions {
  /** None: no certificate is sent. */
  readonly credentials?: TlsCredentials;
  readonly alpn?: string;
  /** Sent on a stream of its own as soon as the handshake is complete on this side. */
  readonly payload?: Uint8Array;
  /** Resolve when the listener has sent this many bytes on that stream. */
  readonly enough?: number;
}

export interface Refusal {
  /** The code of the CONNECTION_CLOSE that came, `undefined` when none came in time. */
  readonly code: number | undefined;
  readonly reason: string;
  /** Bytes that the listener sent on our stream. */
  readonly received: number;
}

/** Connects and resolves when the listener closed the connection, or after `timeout` ms. */
export const dialHostile = async (
  remote: SocketAddress,
  options: HostileOptions,
  timeout = 5_000,
): Promise<Refusal> => {
  const quiche = loadQuiche();
  const pem = (text: string | undefined): Uint8Array[] | null =>
    text === undefined ? null : [new TextEncoder().encode(text)];
  const config = quiche.Config.withBoringSslCtx(
    true,
    true,
    null,
    pem(options.credentials?.privateKeyPem),
    pem(options.credentials?.certificatePem),
    null,
  );
  config.setApplicationProtos([options.alpn ?? 'libp2p']);
  config.setMaxIdleTimeout(timeout);
  config.setMaxRecvUdpPayloadSize(65_527);
  config.setMaxSendUdpPayloadSize(1_350);
  config.setInitialMaxData(1 << 20);
  config.setInitialMaxStreamDataBidiLocal(1 << 20);
  config.setInitialMaxStreamDataBidiRemote(1 << 20);
  config.setInitialMaxStreamsBidi(16);

  const socket = createSocket(remote.host.includes(':') ? 'udp6' : 'udp4');
  await new Promise<void>((resolve) => socket.connect(remote.port, remote.host, resolve));
  const { address, port } = socket.address();
  const local = { host: address, port };
  const connection = quiche.Connection.connect(null, randomBytes(16), local, remote, config);
  const out = Buffer.alloc(1_350);
  const flush = (): void => {
    for (let next = connection.send(out); next !== null; next = connection.send(out)) {
      socket.send(Buffer.from(out.subarray(0, next[0])));
    }
  };
  let received = 0;
  let sent = false;
  const step = (): void => {
    if (connection.isEstablished() && !sent && options.payload !== undefined) {
      sent = connection.streamSend(0, options.payload, false) !== null;
    }
    for (const id of connection.readable()) {
      const chunk = connection.streamRecv(id, Buffer.alloc(65_536));
      received += chunk?.[0] ?? 0;
    }
    flush();
  };
  const isEnough = (): boolean => options.enough !== undefined && received >= options.enough;
  return new Promise((resolve) => {
    const end = (): void => {
      clearInterval(clock);
      clearTimeout(limit);
      socket.close();
      const error = connection.peerError();
      const reason = error === null ? '' : new TextDecoder().decode(error.reason);
      resolve({ code: error?.errorCode, reason, received });
    };
    const clock = setInterval(() => {
      if (connection.timeout() === 0) connection.onTimeout();
      step();
    }, 10);
    const limit = setTimeout(end, timeout);
    socket.on('error', () => undefined);
    socket.on('message', (packet) => {
      try {
        connection.recv(packet, { from: remote, to: local });
      } catch {
        // The handshake failed on this side: the alert leaves with the next flush.
      }
      step();
      if (connection.peerError() !== null || connection.isClosed() || isEnough()) end();
    });
    step();
  });
};
