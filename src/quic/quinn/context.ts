/** What dials and listeners of quinn share: credentials, limits, and the refusal of a certificate. */

import { isIP } from 'node:net';
import { type CloseReason, describeClose } from '../../close-reason.ts';
import { LeanError, messageOf } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { TlsCredentials } from '../../tls/credentials.ts';
import type { EngineOptions, QuicListener, QuicTrace } from '../engine.ts';
import type { QuicLimits } from '../limits.ts';
import { keyLogOf } from '../trace.ts';
import type { NativeCredentials, NativeLimits } from './binding.ts';
import { described, nativeWindowsOf, type QuinnConnection } from './connection.ts';
import type { Driver } from './driver.ts';

/** How long to wait for a close to be sent, or a listener's socket to be closed; milliseconds. */
export const CLOSE_WAIT = 2_000;

export interface QuinnOptions extends QuicTrace {
  /** Allows a key that does not belong to the certificate, to test that peers reject it. */
  readonly forge?: boolean;
}

export interface QuinnContext {
  readonly driver: Driver;
  readonly options: QuinnOptions;
  /** Parsed once. */
  readonly credentials: WeakMap<TlsCredentials, NativeCredentials>;
  /** Each listener's number and the connections that end with it. */
  readonly sockets: WeakMap<QuicListener, ListenerSocket>;
}

export interface ListenerSocket {
  readonly handle: number;
  readonly connections: Set<QuinnConnection>;
}

/** @throws ERR_KEY_MALFORMED when quinn cannot use them. */
export const credentialsOf = (
  context: QuinnContext,
  { credentials }: EngineOptions,
): NativeCredentials => {
  const known = context.credentials.get(credentials);
  if (known !== undefined) return known;
  const { certificatePem, privateKeyPem } = credentials;
  const { Credentials } = context.driver.native;
  let made: NativeCredentials;
  try {
    const { forge } = context.options;
    made = new Credentials(certificatePem, privateKeyPem, keyLogOf(context.options), forge);
  } catch (error) {
    throw new LeanError('ERR_KEY_MALFORMED', `TLS credentials: ${messageOf(error)}`);
  }
  context.credentials.set(credentials, made);
  return made;
};

export const nativeLimits = (limits: QuicLimits): NativeLimits => ({
  ...limits,
  ...nativeWindowsOf(limits),
});

/** @throws ERR_ADDRESS for a host that is not an IP literal. */
export const checkAddress = ({ host }: SocketAddress): void => {
  if (isIP(host) === 0) throw new LeanError('ERR_ADDRESS', `not an IP address: ${host}`);
};

/** The certificate of a peer that sent none. */
export const NO_CERTIFICATE = new Uint8Array(0);

/** For an error's message. */
export const describe = (close: CloseReason): string => describeClose(described(close));

/** Closes a connection that `authenticate` refused; resolves when the close has been sent. */
export const refuse = (driver: Driver, handle: number, error: unknown): Promise<void> =>
  new Promise((resolve) => {
    const { native, engine, connections } = driver;
    const over = (): void => {
      if (!connections.delete(handle)) return;
      clearTimeout(timer);
      native.release(engine, handle);
      resolve();
    };
    const timer = setTimeout(over, CLOSE_WAIT);
    const ignore = (): void => {};
    connections.set(handle, {
      streamsOpened: ignore,
      streamsAllowed: ignore,
      over: ignore,
      closeSent: over,
      broken: over,
    });
    native.refuse(engine, handle, messageOf(error));
  });
