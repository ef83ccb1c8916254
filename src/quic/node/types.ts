/**
 * The part of `node:quic` that this folder uses, as Node 24.20 and 26.x have it; `@types/node`
 * does not describe it yet. Members marked optional are missing from some runtime that we support.
 */

import type { KeyObject, X509Certificate } from 'node:crypto';
import type { BlockList } from 'node:net';

export interface NodeQuic {
  connect(address: NodeQuicAddress, options: ConnectOptions): Promise<NodeQuicSession>;
  listen(
    onSession: (session: NodeQuicSession) => void,
    options: ListenOptions,
  ): Promise<NodeQuicEndpoint>;
  readonly QuicEndpoint: new (options: DialSocketOptions) => NodeQuicEndpoint;
  readonly QuicSession: { readonly prototype: object };
  readonly QuicStream: { readonly prototype: object };
}

export interface NodeQuicAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 'ipv4' | 'ipv6';
}

export interface DialSocketOptions {
  readonly address: NodeQuicAddress;
  readonly udpReceiveBufferSize: number;
  /** Seconds without a session until it closes; 0: never. */
  readonly idleTimeout: number;
  /** Neither sends stateless resets nor takes them. */
  readonly disableStatelessReset?: boolean;
}

export interface NodeQuicEndpoint {
  /** Undefined before it is bound and after it is closed. */
  readonly address: NodeQuicAddress | undefined;
  readonly destroyed: boolean;
  readonly closed: Promise<void>;
  /** Waits for the endpoint's sessions. */
  close(): Promise<void>;
  /** Ends them silently. */
  destroy(): void;
}

export interface NodeQuicSession {
  readonly opened: Promise<unknown>;
  /** Resolves for a close with code 0 and for the idle timeout; rejects otherwise. */
  readonly closed: Promise<void>;
  readonly destroyed: boolean;
  /** Undefined once the session is destroyed. */
  readonly endpoint: NodeQuicEndpoint | null;
  readonly path: { readonly local: NodeQuicAddress; readonly remote: NodeQuicAddress } | undefined;
  readonly peerCertificate: X509Certificate | undefined;
  /** What the peer granted in the handshake. Not in Bun 1.4. */
  readonly remoteTransportParams?: { readonly initialMaxStreamsBidi: bigint } | undefined;
  /** Mostly zeros in Bun 1.4. */
  readonly stats: {
    readonly bytesSent: bigint;
    readonly bytesInFlight: bigint;
    readonly cwnd: bigint;
    readonly pktLost: bigint;
    /** 0 until then. */
    readonly handshakeConfirmedAt: bigint;
    /** Nanoseconds. */
    readonly smoothedRtt: bigint;
    readonly minRtt: bigint;
  };
  onstream: ((stream: NodeQuicStream) => void) | undefined;
  createBidirectionalStream(options?: {
    /** Node. */
    readonly budget?: number;
    /** Bun. */
    readonly highWaterMark?: number;
  }): Promise<NodeQuicStream>;
  destroy(error?: undefined, close?: CloseOptions): void;
}

export interface CloseOptions {
  readonly code: bigint;
  readonly type: 'transport' | 'application';
  readonly reason: string;
}

export interface NodeQuicStream extends AsyncIterable<Uint8Array[]> {
  /** Null while the peer's stream limit keeps it from being opened, and after it is destroyed. */
  readonly id: bigint | null;
  readonly destroyed: boolean;
  readonly closed: Promise<void>;
  readonly stats: {
    /** 0 until the FIN or RESET_STREAM, and for a stream without a byte. */
    readonly finalSize: bigint;
    /** Put into packets, not only queued. */
    readonly bytesSent: bigint;
    /** Of those, what the peer acknowledged. */
    readonly maxOffsetAcknowledged: bigint;
    readonly bytesReceived: bigint;
    /** Of those, what is in the stream's receive buffer, which has 64 KiB at least. */
    readonly bytesAccumulated?: bigint;
  };
  readonly writer: NodeQuicWriter;
  /** All that there is to send, and the FIN; instead of `writer`. It is copied. Not in Bun 1.4. */
  setBody(body: Uint8Array): void;
  /** Node. */
  budget?: number;
  /** Bun. */
  highWaterMark?: number;
  onreset: ((error: NodeQuicError | undefined) => void) | undefined;
  /** Not in Bun 1.4. */
  onstopsending?: ((error: NodeQuicError | undefined) => void) | undefined;
  resetStream(code: bigint): void;
  stopSending(code: bigint): void;
  destroy(): void;
}

/** The protocol symbol of `node:stream/iter`, which needs no flag this way. */
export const DRAINABLE: unique symbol = Symbol.for('Stream.drainableProtocol') as never;

export interface NodeQuicWriter {
  /** Whether there is room; null when writing is over. Node. */
  readonly canWrite?: boolean | null;
  /** Bytes of room; null when writing is over. Bun. */
  readonly desiredSize?: number | null;
  /** Takes all or nothing; false: nothing was taken. */
  writevSync(chunks: readonly Uint8Array[]): boolean;
  /** FIN. -1: not now, a drain is pending, or the stream has failed. */
  endSync(): number;
  /** Sends RESET_STREAM; node calls it itself when it destroys the stream. */
  fail(reason?: unknown): void;
  /** A promise of room, or null: there is room, or writing is over. */
  [DRAINABLE]?(): Promise<unknown> | null;
}

export interface NodeQuicError extends Error {
  readonly code?: string;
  /** The code on the wire. */
  readonly errorCode?: bigint;
  readonly type?: 'transport' | 'application';
  /** The peer's reason. */
  readonly reason?: string;
}

interface TransportParams {
  readonly initialMaxStreamDataBidiLocal: number;
  readonly initialMaxStreamDataBidiRemote: number;
  readonly initialMaxStreamDataUni: number;
  readonly initialMaxData: number;
  readonly initialMaxStreamsBidi: number;
  readonly initialMaxStreamsUni: number;
  /** Seconds. */
  readonly maxIdleTimeout: number;
  readonly maxDatagramFrameSize: number;
}

export interface SessionOptions {
  readonly transportParams: TransportParams;
  readonly maxStreamWindow: number;
  readonly maxWindow: number;
  /** Milliseconds. */
  readonly handshakeTimeout: number;
  /** Milliseconds; 0: never. */
  readonly streamIdleTimeout: number;
  readonly enableEarlyData: boolean;
  readonly rejectUnauthorized: boolean;
  /** Marks the session's and its streams' promises as handled. */
  readonly onerror: () => void;
  readonly onstream: (this: NodeQuicSession, stream: NodeQuicStream) => void;
  /** With these, `onkeylog` and `onqlog` are called. Not in Bun 1.4. */
  readonly keylog?: boolean;
  readonly qlog?: boolean;
  /** A line in NSS format. */
  readonly onkeylog?: (this: NodeQuicSession, line: string) => void;
  /** JSON text sequences, in pieces; `fin`: the last one. */
  readonly onqlog?: (this: NodeQuicSession, data: string, fin: boolean) => void;
}

export interface Identity {
  readonly keys: readonly KeyObject[];
  readonly certs: readonly Uint8Array[];
}

export interface ConnectOptions extends SessionOptions, Identity {
  readonly endpoint: NodeQuicEndpoint;
  readonly alpn: string;
  readonly servername: string;
  readonly ca: readonly Uint8Array[];
  readonly verifyPeer: 'manual';
}

export interface ListenOptions extends SessionOptions {
  readonly endpoint: {
    readonly address: NodeQuicAddress;
    readonly ipv6Only: boolean;
    readonly validateAddress: boolean;
    readonly udpReceiveBufferSize: number;
    readonly maxConnectionsTotal: number;
    readonly maxConnectionsPerHost: number;
    readonly sessionCreationRate: number;
    readonly sessionCreationBurst: number;
    /** Retries in a second, to all hosts together. */
    readonly retryRate?: number;
    readonly retryBurst?: number;
    /** Seconds that the token of a Retry is taken. */
    readonly retryTokenExpiration?: number;
    /** Sources whose packets are dropped. */
    readonly blockList: BlockList;
    /** As in {@link DialSocketOptions}. */
    readonly disableStatelessReset?: boolean;
  };
  readonly alpn: readonly string[];
  readonly sni: { readonly '*': Identity };
  readonly verifyClient: boolean;
}
