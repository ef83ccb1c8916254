/** The limits of a node that its user can set. */

import { DEFAULT_ADMISSION_LIMITS } from '../admission.ts';
import { DEFAULT_MEMORY_LIMITS } from '../connection-memory.ts';
import type { TransportLimits } from '../transports/transport.ts';
import { checkRanges, type LimitRanges, MAX_TIMEOUT } from './limit-ranges.ts';

/**
 * Each is described where it is defined, with its default and what happens at the limit: `AdmissionLimits`
 * (connections and handshakes, in all and per host), `MemoryLimits` (memory, stalled writers),
 * `TransportLimits` (times, streams).
 */
export interface NodeLimits extends TransportLimits {
  /**
   * Connections with one peer: 64, including those that we dialled. At the limit, inbound ones are closed; dials
   * are still allowed.
   */
  readonly maxConnectionsPerPeer: number;
  /**
   * How full memory may be for connections of peers to be let in: 85 % of V8's heap, of what the cgroup may have, and
   * of what a limit on the address space (`ulimit -v`) left when the node was made. Those that there are go on. 100: always.
   */
  readonly maxMemoryPercent: number;
}

/** The limits on a node's connections. */
export type ConnectionLimits = Pick<
  NodeLimits,
  'maxConnections' | 'maxConnectionsPerHost' | 'maxConnectionsPerPeer' | 'maxMemoryPercent'
>;

/** The defaults that are the same for every transport. */
export const DEFAULT_NODE_LIMITS = {
  ...DEFAULT_ADMISSION_LIMITS,
  ...DEFAULT_MEMORY_LIMITS,
  maxConnectionsPerPeer: 64,
  maxMemoryPercent: 85,
  handshakeTimeout: 10_000,
} as const satisfies Partial<NodeLimits>;

const MAX_COUNT = 2 ** 32;

const RANGES: LimitRanges<NodeLimits> = {
  maxConnections: [0, MAX_COUNT],
  maxConnectionsPerHost: [0, MAX_COUNT],
  maxConnectionsPerPeer: [0, MAX_COUNT],
  maxMemoryPercent: [1, 100],
  maxPending: [1, MAX_COUNT],
  maxPendingPerHost: [1, MAX_COUNT],
  maxStreams: [1, 2 ** 16],
  // Below, a few streams could not make progress.
  connectionMemory: [1 << 20, 2 ** 40],
  stallTimeout: [1, MAX_TIMEOUT],
  handshakeTimeout: [1, MAX_TIMEOUT],
  idleTimeout: [1, MAX_TIMEOUT],
};

/** @returns what was given. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const checkLimits = (given: Partial<NodeLimits> = {}): Partial<NodeLimits> =>
  checkRanges(given, RANGES, 'a node');
