/** A muxer: many streams over one wire. yamux.ts and mplex.ts implement it. */

import type { CloseReason } from '../close-reason.ts';
import type { Role } from '../connection.ts';
import type { ConnectionMemory } from '../connection-memory.ts';
import type { Stream } from '../stream.ts';
import type { MuxLimits } from './mux-limits.ts';

/** The names that the interop matrices use; on the wire `/yamux/1.0.0` and `/mplex/6.7.0`. */
export type MuxerName = 'yamux' | 'mplex';

/** The members are those of `TransportConnection`. */
export interface Muxer {
  openStream(signal?: AbortSignal): Promise<Stream>;
  acceptStream(): Promise<Stream | null>;
  close(code?: number, reason?: string): Promise<void>;
  readonly closed: Promise<CloseReason>;
  readonly memory: ConnectionMemory;
}

/** What a muxer runs over: the secured wire, or a stream on it that still has to check a lazy negotiation's answer. */
export interface Carrier {
  readonly stream: Stream;
  /** As `Wire.close()`. */
  close(): Promise<void>;
}

/**
 * Starts a muxer.
 *
 * @param role our side of the connection.
 * @throws ERR_OPTIONS for a limit that is unknown or out of range.
 */
export type CreateMuxer = (carrier: Carrier, role: Role, limits?: Partial<MuxLimits>) => Muxer;
