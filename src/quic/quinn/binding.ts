/**
 * The N-API binding of quinn (native/): its functions, and where to find it. Connections, listeners
 * and streams are numbers. A connection's life: `dial()` or a listener; `Connected`; `admit()` or
 * `refuse()`; `Closed` or `CloseSent`; `release()`.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { CloseReason } from '../../close-reason.ts';
import type { ConnectionStats } from '../../connection-stats.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { QuicLimits } from '../limits.ts';
import type { KeyLog, Qlog } from '../trace.ts';

/** Kinds of events; `Event` of native/src/events.rs. */
export const READABLE = 1;
export const WRITABLE = 2;
export const STREAMS_OPENED = 3;
export const STREAMS_ALLOWED = 4;
export const CONNECTED = 5;
export const FAILED = 6;
export const CLOSED = 7;
export const CLOSE_SENT = 8;
export const LISTENER_CLOSED = 9;
export const PENDING_ROSE = 10;
export const TRACES_FULL = 11;

/** In place of a byte count or a stream number: nothing now; an event follows. */
export const BLOCKED = -1;
/** The peer reset or stopped the stream; `lastCode()` has its code. */
export const RESET = -2;
/** The connection or the stream has ended. There are no other negative results. */
export const ENDED = -3;
/** Of `read()`: the peer finished the stream. */
export const EOF = 0;

/** The `INTERFACE` of native/src/lib.rs that this file describes. */
const INTERFACE = 6;

/** A certificate and its key, parsed for quinn. */
export interface NativeCredentials {
  readonly native: 'credentials';
}

/** `Limits` of native/src/limits.rs. */
export interface NativeLimits extends Omit<QuicLimits, 'connectionMemory' | 'stallTimeout'> {
  /** Bytes of a connection that were written and not acknowledged. */
  readonly sendWindow: number;
}

export interface HandshakeFailure {
  readonly close: CloseReason;
  readonly remote: SocketAddress;
}

/** All functions may throw an `Error`, also if Rust panicked. */
export interface QuinnBinding {
  readonly INTERFACE: number;
  /**
   * Starts an engine; its number is the first argument of all other functions. `wake` is called when there
   * are events; it does not keep the process alive.
   */
  start(wake: () => void): number;
  /** Reads events of 3 words of 32 bits (kind, id, listener). Must be called until it returns 0. */
  drain(engine: number, into: Uint8Array): number;
  /**
   * PEM. `keyLog`: where TLS secrets go. `forge`: allows a key that does not belong to
   * the certificate, to test that peers reject it.
   */
  Credentials: new (
    certificate: string,
    key: string,
    keyLog?: KeyLog,
    forge?: boolean,
  ) => NativeCredentials;
  /** `qlog`: where traces go, one file per connection. */
  listen(
    engine: number,
    host: string,
    port: number,
    credentials: NativeCredentials,
    limits: NativeLimits,
    qlog: Qlog | undefined,
  ): number;
  listenerAddress(engine: number, listener: number): SocketAddress | null;
  /** Sends a datagram that is not a QUIC packet from a listener's socket. */
  sendDatagram(
    engine: number,
    listener: number,
    host: string,
    port: number,
    data: Uint8Array,
  ): void;
  closeListener(engine: number, listener: number): void;
  /** Pending handshakes of a listener. Allows the next `PENDING_ROSE`. */
  pending(engine: number, listener: number): number;
  /** The largest number of pending handshakes that any one host has. */
  crowd(engine: number, listener: number): number;
  /** Ends the oldest pending handshake of the host with the most. */
  evictOldest(engine: number, listener: number): void;
  /** Requests `PENDING_ROSE` when more than `count` handshakes are pending. */
  tellAbove(engine: number, listener: number, count: number): void;
  /** From the socket of the listener `from`, unless that is 0. `qlog`: as in `listen()`. */
  dial(
    engine: number,
    host: string,
    port: number,
    credentials: NativeCredentials,
    limits: NativeLimits,
    from: number,
    qlog: Qlog | undefined,
  ): number;
  abort(engine: number, connection: number): void;
  takeFailure(engine: number, connection: number): HandshakeFailure | null;
  /** Those of the peer, once; `null`: the connection no longer exists. */
  certificates(engine: number, connection: number): Uint8Array[] | null;
  admit(engine: number, connection: number): void;
  localAddress(engine: number, connection: number): SocketAddress | null;
  remoteAddress(engine: number, connection: number): SocketAddress | null;
  close(engine: number, connection: number, code: number, reason: string): void;
  refuse(engine: number, connection: number, reason: string): void;
  closeReason(engine: number, connection: number): CloseReason | null;
  release(engine: number, connection: number): void;
  stats(engine: number, connection: number): ConnectionStats | null;
  openStream(engine: number, connection: number): number;
  acceptStream(engine: number, connection: number): number;
  read(engine: number, stream: number, into: Uint8Array): number;
  write(engine: number, stream: number, data: Uint8Array, fin: boolean): number;
  lastCode(engine: number): number;
  resetStream(engine: number, stream: number, code: number): void;
  stopSending(engine: number, stream: number, code: number): void;
  freeStream(engine: number, stream: number): void;
  /** Gives free memory back to the system, beside this thread; `false`: not possible here. */
  trimMemory(): boolean;
  /** Panics, to test that the process survives. */
  panicForTest(engine: number, onNetworkThread: boolean): void;
}

/** Where native/build.mjs puts what it builds for a checkout, from the checkout's root. */
export const BUILT = path.join('native', 'quinn.node');

let loaded: QuinnBinding | undefined;

/** @throws ERR_ENGINE_UNAVAILABLE when there is no binary for this platform, or it cannot be loaded. */
export const loadQuinn = (): QuinnBinding => {
  loaded ??= findQuinn(import.meta.url);
  return loaded;
};

/**
 * The platform's package if it is installed, else what was built in this checkout.
 *
 * @param from the file beside or above which both are looked for; URL or path.
 * @throws ERR_ENGINE_UNAVAILABLE as loadQuinn() does.
 */
export const findQuinn = (from: string): QuinnBinding => {
  const require = createRequire(from);
  const failures: string[] = [];
  for (const name of packagesFor(process.platform, process.arch)) {
    try {
      return checked(require(name));
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
      if (!missing) failures.push(`${name}: ${firstLine(error)}`);
    }
  }
  const built = findBuilt(from);
  if (built !== undefined) {
    try {
      return checked(require(built));
    } catch (error) {
      failures.push(firstLine(error));
    }
  }
  const why =
    failures.length > 0
      ? failures.join('; ')
      : `no binary for ${process.platform}-${process.arch}, and native/build.mjs has built none`;
  throw new LeanError('ERR_ENGINE_UNAVAILABLE', `the engine quinn: ${why}`);
};

const checked = (binding: QuinnBinding): QuinnBinding => {
  if (binding.INTERFACE === INTERFACE) return binding;
  throw new Error(`it is of another version (${binding.INTERFACE}, wanted: ${INTERFACE})`);
};

/** napi-rs' names. On Linux only the one of this C library is installed, or can be loaded. */
const packagesFor = (platform: string, arch: string): string[] => {
  const base = `@libp2p-lean/quinn-${platform}-${arch}`;
  if (platform === 'linux') return [`${base}-gnu`, `${base}-musl`];
  return [platform === 'win32' ? `${base}-msvc` : base];
};

/**
 * This module may be in src/quic/quinn/, in dist/lib/quic/quinn/, or bundled in dist/ or in a cache. The search
 * ends at the root of this package.
 */
const findBuilt = (from: string): string | undefined => {
  let directory = path.dirname(from.startsWith('file:') ? new URL(from).pathname : from);
  for (let up = 0; up < 4; up++) {
    directory = path.dirname(directory);
    const file = path.join(directory, BUILT);
    if (existsSync(file)) return file;
    if (existsSync(path.join(directory, 'package.json'))) return undefined;
  }
  return undefined;
};

const firstLine = (error: unknown): string => messageOf(error).split(' Require stack')[0] ?? '';

/** Why {@link loadQuinn} would throw here; `undefined` where it would not. */
export const lackOfQuinn = (): string | undefined => {
  try {
    loadQuinn();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
};
