/** What a peer may cost this node: the limits that its user can set. */

import { DEFAULT_MEMORY_LIMITS, type MemoryLimits } from '../connection-memory.ts';
import { LeanError } from '../errors.ts';

/** Each is described where it is defined. */
export type NodeLimits = MemoryLimits;

export const DEFAULT_NODE_LIMITS: NodeLimits = DEFAULT_MEMORY_LIMITS;

/** The least `connectionMemory`: what a few streams need to get on at all. */
const MIN_CONNECTION_MEMORY = 1 << 20;
/** The longest timer. */
const MAX_TIMEOUT = 2 ** 31 - 1;

/** The limits given, and the defaults of the others. @throws ERR_CONFIG. */
export const nodeLimitsOf = (given: Partial<NodeLimits> = {}): NodeLimits => {
  const limits = { ...DEFAULT_NODE_LIMITS, ...given };
  inRange('connectionMemory', limits.connectionMemory, MIN_CONNECTION_MEMORY, 2 ** 40);
  inRange('stallTimeout', limits.stallTimeout, 1, MAX_TIMEOUT);
  return limits;
};

const inRange = (name: string, value: number, least: number, most: number): void => {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new LeanError('ERR_CONFIG', `limits.${name} must be in ${least} … ${most}, not ${value}`);
};
