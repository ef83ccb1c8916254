/** What `node:quic` is told of a connection: limits, certificate and address. */

import { createPrivateKey, type KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { LeanError } from '../../errors.ts';
import type { SocketAddress } from '../../socket-address.ts';
import type { EngineOptions } from '../engine.ts';
import type { QuicLimits } from '../limits.ts';
import { STREAM_BYTES } from './memory-poll.ts';
import type { Identity, NodeQuicAddress, SessionOptions } from './types.ts';

/** Requested from the kernel, which may grant less (net.core.rmem_max); it must hold a burst. */
export const SOCKET_BUFFER = 4 << 20;
/**
 * The receive window of a connection: unlimited, as each stream has its own. `node:quic` (24.21) returns no
 * credit for bytes that were unread when their stream closed, which happens when they arrive with the
 * FIN: after enough short answers the connection would stall.
 */
const NO_WINDOW = Number.MAX_SAFE_INTEGER;
/** A stream's initial window, as large as the receive buffer that it has anyway; bytes. */
const FIRST_WINDOW = STREAM_BYTES;
/** The share of `connectionMemory` that the peer's streams may take up without any unread bytes. */
const STREAMS_SHARE = 0.25;
/** The share of `connectionMemory` that the window of one stream may grow to. */
const WINDOW_SHARE = 0.25;
/** The handshake timeout given to `node:quic` where there should be none; milliseconds. */
const LONGEST_HANDSHAKE = 3_600_000;

/** For `connect()` and `listen()`. */
export const sessionOptions = (
  limits: QuicLimits,
  /** Milliseconds; the engine's own timeout, so `node:quic`'s must not be shorter. */
  handshakeLimit: number,
  onstream: SessionOptions['onstream'],
): SessionOptions => {
  const { connectionMemory } = limits;
  const mostStreams = Math.max(1, Math.floor((connectionMemory * STREAMS_SHARE) / STREAM_BYTES));
  const streamWindow = Math.min(limits.streamWindow, Math.floor(connectionMemory * WINDOW_SHARE));
  const firstWindow = Math.min(FIRST_WINDOW, streamWindow);
  return {
    transportParams: {
      initialMaxStreamDataBidiLocal: firstWindow,
      initialMaxStreamDataBidiRemote: firstWindow,
      initialMaxStreamDataUni: 0,
      initialMaxData: NO_WINDOW,
      initialMaxStreamsBidi: Math.min(limits.maxStreams, mostStreams),
      initialMaxStreamsUni: 0,
      maxIdleTimeout: Math.ceil(limits.idleTimeout / 1000),
      maxDatagramFrameSize: 0,
    },
    // So far a stream's window grows while it is read.
    maxStreamWindow: streamWindow,
    maxWindow: limits.connectionWindow,
    // Our own timer fires first and reports a timeout; node's ends with INTERNAL_ERROR.
    handshakeTimeout: Math.min(handshakeLimit + 1000, LONGEST_HANDSHAKE),
    // The default destroys streams that only we write on after 30 s.
    streamIdleTimeout: 0,
    enableEarlyData: false,
    // libp2p certificates are self-signed; `authenticate` verifies them.
    rejectUnauthorized: false,
    onerror: () => {},
    onstream,
  };
};

/** Parsed once. */
const identities = new WeakMap<EngineOptions['credentials'], Identity>();

export const identityOf = ({ credentials }: EngineOptions): Identity => {
  const known = identities.get(credentials);
  if (known !== undefined) return known;
  const identity = {
    keys: [loadPrivateKey(credentials.privateKeyPem)],
    certs: [Buffer.from(credentials.certificatePem)],
  };
  identities.set(credentials, identity);
  return identity;
};

/**
 * A TLS handshake that a `node:quic` listener refused leaves its error in OpenSSL's queue, and the next
 * `createPrivateKey` throws it: any client could make a dial of ours fail. Throwing removes the error
 * from the queue, so the second attempt is reliable.
 */
export const loadPrivateKey = (pem: string): KeyObject => {
  try {
    return createPrivateKey(pem);
  } catch {
    return createPrivateKey(pem);
  }
};

/** @throws ERR_ADDRESS for a host that is not an IP literal. */
export const nodeAddress = ({ host, port }: SocketAddress): NodeQuicAddress => {
  // Not isIPv6(): its long pattern, compiled at the first call, costs a dial 4 ms.
  const version = isIP(host);
  if (version === 0) throw new LeanError('ERR_ADDRESS', `not an IP address: ${host}`);
  return { address: host, port, family: version === 6 ? 'ipv6' : 'ipv4' };
};
