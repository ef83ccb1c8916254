/**
 * The prebuilt N-API binding of Cloudflare quiche: its shape, as far as it is used here, and where
 * to find it. The binding is sans-I/O: it turns packets into events and back and never touches a
 * socket or a timer.
 */

import { createRequire } from 'node:module';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';

export interface Quiche {
  readonly MAX_CONN_ID_LEN: number;
  readonly Config: {
    /** `verifyAllowFail` leaves verifying the certificate to us. PEM, one of each. */
    withBoringSslCtx(
      verifyPeer: boolean,
      verifyAllowFail: boolean,
      ca: Uint8Array | null,
      key: Uint8Array[] | null,
      certificate: Uint8Array[] | null,
      signatureAlgorithms: string | null,
    ): QuicheConfig;
  };
  readonly Connection: {
    connect(
      serverName: string | null,
      scid: Uint8Array,
      local: SocketAddress,
      remote: SocketAddress,
      config: QuicheConfig,
    ): QuicheHandle;
    accept(
      scid: Uint8Array,
      originalDcid: Uint8Array | null,
      local: SocketAddress,
      remote: SocketAddress,
      config: QuicheConfig,
    ): QuicheHandle;
  };
  /** Write a Version Negotiation or Retry packet into `out`; the result is its length. */
  negotiateVersion(scid: Uint8Array, dcid: Uint8Array, out: Uint8Array): number;
  retry(
    scid: Uint8Array,
    dcid: Uint8Array,
    newScid: Uint8Array,
    token: Uint8Array,
    version: number,
    out: Uint8Array,
  ): number;
  versionIsSupported(version: number): boolean;
}

export interface QuicheConfig {
  setApplicationProtos(protocols: string[]): void;
  setMaxIdleTimeout(milliseconds: number): void;
  setMaxRecvUdpPayloadSize(bytes: number): void;
  setMaxSendUdpPayloadSize(bytes: number): void;
  setInitialMaxData(bytes: number): void;
  setInitialMaxStreamDataBidiLocal(bytes: number): void;
  setInitialMaxStreamDataBidiRemote(bytes: number): void;
  setInitialMaxStreamDataUni(bytes: number): void;
  setInitialMaxStreamsBidi(count: number): void;
  setInitialMaxStreamsUni(count: number): void;
  setMaxConnectionWindow(bytes: number): void;
  setMaxStreamWindow(bytes: number): void;
  setDisableActiveMigration(disable: boolean): void;
  enablePacing(enable: boolean): void;
  /** The secrets of connections made with it may be logged. */
  logKeys(): void;
}

/** One connection. Calls that find nothing to do return `null`; errors are thrown by name. */
export interface QuicheHandle {
  recv(packet: Uint8Array, info: { from: SocketAddress; to: SocketAddress }): number;
  send(out: Uint8Array): [length: number, info: { to: SocketAddress }] | null;
  streamRecv(id: number, out: Uint8Array): [length: number, fin: boolean] | null;
  streamSend(id: number, data: Uint8Array, fin: boolean): number | null;
  /** Direction 0 sends STOP_SENDING, 1 RESET_STREAM. */
  streamShutdown(id: number, direction: 0 | 1, code: number): undefined | null;
  streamCapacity(id: number): number;
  peerStreamsLeftBidi(): number;
  isReadable(): boolean;
  readable(): Iterable<number>;
  /** Milliseconds, rounded down; `null`: no timer. */
  timeout(): number | null;
  onTimeout(): void;
  /** Appends the secrets of the connection to a file. */
  setKeylog(path: string): void;
  /** Makes the next packet ack-eliciting. */
  sendAckEliciting(): void;
  stats(): { sentBytes: number | bigint; lostBytes: number | bigint };
  pathStats(): Iterable<{ cwnd: number | bigint }>;
  close(application: boolean, code: number, reason: Uint8Array): undefined | null;
  applicationProto(): Uint8Array;
  /** DER, leaf first. */
  peerCertChain(): Uint8Array[] | null;
  isEstablished(): boolean;
  isDraining(): boolean;
  isClosed(): boolean;
  isTimedOut(): boolean;
  peerError(): QuicheError | null;
  localError(): QuicheError | null;
}

export interface QuicheError {
  isApp: boolean;
  errorCode: number;
  reason: Uint8Array;
}

/** Where a binding for this platform may be; all are quiche 0.18 behind the same functions. */
const packagesFor = (platform: string, arch: string): string[] =>
  platform === 'darwin'
    ? ['@matrixai/quic-darwin-universal']
    : [`@infisical/quic-${platform}-${arch}`, `@matrixai/quic-${platform}-${arch}`];

let loaded: Quiche | undefined;

/** @throws ERR_ENGINE_UNAVAILABLE when no binding is installed for this platform. */
export const loadQuiche = (): Quiche => {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  const names = packagesFor(process.platform, process.arch);
  const failures: string[] = [];
  for (const name of names) {
    try {
      loaded = require(name) as Quiche;
      return loaded;
    } catch (error) {
      failures.push(messageOf(error).split(' Require stack')[0] ?? name);
    }
  }
  throw new LeanError(
    'ERR_ENGINE_UNAVAILABLE',
    `no quiche binding for ${process.platform}-${process.arch}: ${failures.join('; ')}`,
  );
};

/** The number in quiche's `StreamReset(5)` and `StreamStopped(6)`. */
export const codeIn = (error: unknown, name: string): number | undefined => {
  const match = /^(\w+)\((\d+)\)$/.exec(messageOf(error));
  return match?.[1] === name ? Number(match[2]) : undefined;
};
