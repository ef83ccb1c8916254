/**
 * The perf suite's contract (libp2p/unified-testing `docs/write-a-perf-test-app.md`): the transport
 * suite's variables, and for the dialer how much to move and how often. A variable that is empty or
 * the literal `null` is unset.
 *
 * `DURATION` is not read: the suite's own README calls it legacy and unused. A dialer moves fixed
 * numbers of bytes; it does not run for a number of seconds.
 */

import {
  type Environment,
  type HarnessConfig,
  malformed,
  read,
  readEnvironment,
} from './environment.ts';

export interface PerfConfig extends HarnessConfig {
  /** Bound of the whole run, ms: only where the environment names one, since bytes take their time. */
  readonly runTimeout: number | undefined;
  /** Bytes of one upload and of one download. */
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** How often each is measured. */
  readonly uploadIterations: number;
  readonly downloadIterations: number;
  readonly latencyIterations: number;
}

const GIB = 2 ** 30;
const MAX_ITERATIONS = 1_000_000;

const TIMEOUT_VARIABLES = ['TEST_TIMEOUT_SECS', 'test_timeout_seconds', 'test_timeout_secs'];

/** @throws ERR_CONFIG, ERR_UNSUPPORTED: as `readEnvironment()`. */
export const readPerfEnvironment = (environment: Environment): PerfConfig => {
  const measured = {
    uploadBytes: wholeOf(environment, 'UPLOAD_BYTES', GIB, 0, Number.MAX_SAFE_INTEGER),
    downloadBytes: wholeOf(environment, 'DOWNLOAD_BYTES', GIB, 0, Number.MAX_SAFE_INTEGER),
    uploadIterations: wholeOf(environment, 'UPLOAD_ITERATIONS', 10, 1, MAX_ITERATIONS),
    downloadIterations: wholeOf(environment, 'DOWNLOAD_ITERATIONS', 10, 1, MAX_ITERATIONS),
    latencyIterations: wholeOf(environment, 'LATENCY_ITERATIONS', 100, 1, MAX_ITERATIONS),
  };
  const config = readEnvironment(environment);
  const limited = TIMEOUT_VARIABLES.some((name) => read(environment, name) !== undefined);
  return { ...config, ...measured, runTimeout: limited ? config.timeout : undefined };
};

const wholeOf = (
  environment: Environment,
  name: string,
  fallback: number,
  min: number,
  max: number,
): number => {
  const text = read(environment, name);
  if (text === undefined) return fallback;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : -1;
  if (value < min || value > max) {
    throw malformed(name, text, `a whole number from ${min} to ${max}`);
  }
  return value;
};
