/** The limits of a node that its user can set. */

import { ADMISSION_RANGES, DEFAULT_ADMISSION_LIMITS } from '../admission.ts';
import { DEFAULT_MEMORY_LIMITS, MEMORY_RANGES } from '../connection-memory.ts';
import {
  checkRanges,
  type LimitRanges,
  MAX_COUNT,
  MAX_STREAMS,
  MAX_TIMEOUT,
} from '../limit-ranges.ts';
import type { TransportLimits } from '../transports/transport.ts';

/**
 * The limits of a node. `AdmissionLimits` has those on connections and handshakes, in total and per host;
 * `MemoryLimits` those on memory and stalled writers; `TransportLimits` those on times and streams.
 */
export interface NodeLimits extends TransportLimits {
  /**
   * Connections with one peer, including those that we dialled; default 64. At the limit, inbound ones are closed;
   * dials are still allowed.
   */
  readonly maxConnectionsPerPeer: number;
  /**
   * Percentage of memory, default 85, above which inbound connections are refused; open ones go on. It applies to V8's
   * heap, to the cgroup's limit, and to what a limit on the address space (`ulimit -v`) left when the node was made.
   * 100: no limit.
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

const RANGES: LimitRanges<NodeLimits> = {
  ...ADMISSION_RANGES,
  ...MEMORY_RANGES,
  maxConnectionsPerPeer: [0, MAX_COUNT],
  maxMemoryPercent: [1, 100],
  maxStreams: [1, MAX_STREAMS],
  handshakeTimeout: [1, MAX_TIMEOUT],
  idleTimeout: [1, MAX_TIMEOUT],
};

/** Returns `given`. @throws ERR_OPTIONS for a limit that is unknown or out of range. */
export const checkLimits = (given: Partial<NodeLimits> = {}): Partial<NodeLimits> =>
  checkRanges(given, RANGES, 'a node');

/** The limits that each transport applies. */
export const transportLimitsOf = ({
  maxConnectionsPerPeer: _ofPeers,
  maxMemoryPercent: _ofMemory,
  ...limits
}: Partial<NodeLimits>): Partial<TransportLimits> => limits;
