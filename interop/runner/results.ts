/**
 * The results of a run: the shape of `results.json` (docs/matrix.md describes it), how the verdict of a
 * cell follows from its attempts and from known-failures.yaml, and how several result files become one.
 */
import { readFile } from 'node:fs/promises';
import { messageOf } from '../../src/errors.ts';
import type { RelayStats } from '../network/udp-relay.ts';
import type { Cell, Shard } from './cells.ts';
import { MatrixError } from './error.ts';
import type { KnownFailure } from './known-failures.ts';

/** Version of the shape below; raised whenever a reader of the old shape would go wrong. */
export const RESULTS_SCHEMA = 1;

export type Role = 'dialer' | 'listener';

/** Why an attempt failed; the message beside it says it in words. */
export type FailureKind =
  | 'start' // a participant could not be started
  | 'dialer-exit' // the dialer exited with a code other than 0, or was killed
  | 'listener-exit' // the listener ended before the dialer had its result
  | 'relay-exit' // so did the relay, in the NAT laboratory
  | 'connection' // it stayed relayed, or did not, against what its NATs let expect
  | 'output' // the dialer exited 0, but its stdout is not a result
  | 'timeout'
  | 'interrupted'; // the run was stopped (Ctrl-C, SIGTERM, Redis gone)

export interface ParticipantRecord {
  readonly command: readonly string[];
  /** What was set on top of the runner's own environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Null when it was ended by a signal or never started. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Path of the log file, relative to the folder of results.json. */
  readonly log: string;
  /** The first lines of its log that look like the reason, at most 5; only on failure. */
  readonly errorLines: readonly string[];
}

/** What the network did to an attempt; what was sent and lost is missing if nothing was. */
export interface NetworkRecord extends Partial<RelayStats> {
  readonly seed: number;
}

export interface Attempt {
  readonly status: 'pass' | 'fail';
  readonly testKey: string;
  readonly startedAt: string;
  readonly durationMs: number;
  /** Of the slowest, where a condition asks for several connections. */
  readonly handshakePlusOneRttMs: number | null;
  readonly pingRttMs: number | null;
  /** From starting the listener until its address was in Redis; null if it never was, or unknown. */
  readonly listenerReadyMs: number | null;
  readonly multiaddr: string | null;
  /** Null without a network condition. */
  readonly network: NetworkRecord | null;
  readonly failure: { readonly kind: FailureKind; readonly message: string } | null;
  readonly dialer: ParticipantRecord;
  readonly listener: ParticipantRecord;
  /** In the NAT laboratory only. */
  readonly relay?: ParticipantRecord;
  readonly holePunch?: HolePunch | null;
  /** Of a traced attempt only. */
  readonly trace?: TraceRecord;
}

/** What a traced attempt leaves behind; paths are relative to the folder of results.json. */
export interface TraceRecord {
  /** A page with both sides' log lines and qlog events in the order of their time. */
  readonly timeline: string;
  /** qlog files and TLS key logs, as far as the participants write any. */
  readonly files: readonly string[];
}

/** What happened to a relayed connection. */
export interface HolePunch {
  readonly connection: 'direct' | 'relayed';
  /** From the dial through the relay until that connection was up. */
  readonly relayedAfterMs: number;
  /** From then until the direct one was; null if there was none. */
  readonly relayedToDirectMs: number | null;
}

/**
 * What the run makes of a cell. `fail` and `unexpected-pass` fail the run; `known` (listed in
 * known-failures.yaml) and `peer` (neither side is ours) do not.
 */
export type Verdict = 'pass' | 'fail' | 'known' | 'peer' | 'unexpected-pass';

export interface CellResult extends Cell {
  /** `pass` only if every attempt passed. */
  readonly status: 'pass' | 'fail';
  readonly verdict: Verdict;
  readonly known: { readonly reason: string; readonly evidence: string } | null;
  readonly attempts: readonly Attempt[];
  /** One more attempt, with traces and debug logs, at a cell that failed; says nothing about the verdict. */
  readonly retry?: Attempt;
}

export interface ImplementationRecord {
  readonly id: string;
  readonly ours: boolean;
  readonly version: string | null;
  readonly transports: readonly string[];
  readonly secureChannels: readonly string[];
  readonly muxers: readonly string[];
  readonly dialOnly: readonly string[];
  /** Why it did not take part; its cells are then absent. */
  readonly skipped: string | null;
}

export interface Summary {
  readonly total: number;
  readonly passed: number;
  readonly failed: number;
  readonly known: number;
  readonly peer: number;
  readonly unexpectedPasses: number;
}

/** What was run: the transport matrix, or the cells of the NAT laboratory. */
export type Suite = 'transport' | 'hole-punch';

export interface Results {
  readonly schema: typeof RESULTS_SCHEMA;
  /** `transport` where it is missing. */
  readonly suite?: Suite;
  readonly startedAt: string;
  readonly completedAt: string;
  readonly host: { readonly os: string; readonly arch: string; readonly cpus: number };
  readonly options: {
    readonly exec: 'process' | 'docker';
    readonly dialect: 'unified' | 'legacy';
    readonly workers: number;
    readonly timeoutSecs: number;
    readonly repeat: number;
    /** Of network conditions. */
    readonly seed: number;
    /** The selection flags that were given, by their long name. */
    readonly filters: Readonly<Record<string, string>>;
  };
  /** The shards this file holds; empty when the run was not sharded. */
  readonly shards: readonly Shard[];
  /** Why the run ended early, or null. */
  readonly interrupted: string | null;
  readonly summary: Summary;
  readonly implementations: readonly ImplementationRecord[];
  readonly cells: readonly CellResult[];
}

/** The log line that most likely says why an attempt failed: of the side that ended badly first. */
export const tellingLine = (attempt: Attempt): string | undefined => {
  const sides: readonly Role[] =
    attempt.failure?.kind === 'listener-exit' ? ['listener', 'dialer'] : ['dialer', 'listener'];
  return sides.flatMap((role) => attempt[role].errorLines)[0];
};

/** @param listed the cell's entry in the list of known failures. */
export const verdictOn = (
  passed: boolean,
  ours: boolean,
  listed: KnownFailure | undefined,
): Verdict => {
  if (passed) return listed === undefined || listed.intermittent ? 'pass' : 'unexpected-pass';
  if (listed !== undefined) return 'known';
  return ours ? 'fail' : 'peer';
};

/** A cell's result, from its attempts and the list of known failures; `retry` goes with it. */
export const judge = (
  cell: Cell,
  attempts: readonly Attempt[],
  known: ReadonlyMap<string, KnownFailure>,
  retry?: Attempt,
): CellResult => {
  const status = attempts.every((attempt) => attempt.status === 'pass') ? 'pass' : 'fail';
  const listed = known.get(cell.name);
  return {
    ...cell,
    status,
    verdict: verdictOn(status === 'pass', cell.ours, listed),
    known: listed === undefined ? null : { reason: listed.reason, evidence: listed.evidence },
    attempts,
    ...(retry !== undefined && { retry }),
  };
};

export const summarise = (cells: readonly CellResult[]): Summary => {
  const count = (verdict: Verdict) => cells.filter((cell) => cell.verdict === verdict).length;
  return {
    total: cells.length,
    passed: cells.filter((cell) => cell.status === 'pass').length,
    failed: cells.filter((cell) => cell.status === 'fail').length,
    known: count('known'),
    peer: count('peer'),
    unexpectedPasses: count('unexpected-pass'),
  };
};

/** Whether the exit code is 0: every cell passed, is listed as failing, or is between two peers. */
export const succeeded = (results: Results): boolean =>
  results.interrupted === null &&
  results.cells.every((cell) => cell.verdict !== 'fail' && cell.verdict !== 'unexpected-pass');

/** Reads one results.json. Throws {@link MatrixError} with the file's name and what is wrong. */
export const readResults = async (path: string): Promise<Results> => {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new MatrixError(`${path}: cannot be read as results.json: ${messageOf(error)}`);
  }
  const results = value as Partial<Results> | null;
  if (typeof results !== 'object' || results === null || results.schema !== RESULTS_SCHEMA) {
    throw new MatrixError(`${path}: not a results.json of schema ${RESULTS_SCHEMA}`);
  }
  if (
    !Array.isArray(results.cells) ||
    !Array.isArray(results.implementations) ||
    !Array.isArray(results.shards)
  ) {
    throw new MatrixError(`${path}: cells, implementations and shards must be lists`);
  }
  return results as Results;
};

/**
 * Makes one result out of several: the shards of one matrix, repeated runs of the same cells
 * (their attempts are appended), or both. Every shard of a sharded run must be there, or the
 * merged result counts as interrupted.
 *
 * @throws MatrixError when the files are not of one run: different exec mode, dialect, or number
 *   of shards.
 */
export const mergeResults = (
  parts: readonly Results[],
  known: ReadonlyMap<string, KnownFailure>,
): Results => {
  const [first] = parts;
  if (first === undefined) throw new MatrixError('nothing to merge: no results.json was given');
  for (const part of parts) {
    for (const key of ['exec', 'dialect'] as const) {
      if (part.options[key] !== first.options[key]) {
        throw new MatrixError(
          `cannot merge runs with different ${key}: ${first.options[key]} and ${part.options[key]}`,
        );
      }
    }
  }
  const implementations = new Map<string, ImplementationRecord>();
  const cells = new Map<
    string,
    { readonly cell: CellResult; readonly attempts: Attempt[]; retry: Attempt | undefined }
  >();
  const shards = new Map<string, Shard>();
  for (const part of parts) {
    for (const implementation of part.implementations) {
      const seen = implementations.get(implementation.id);
      // Built somewhere is better than skipped elsewhere.
      if (seen === undefined || (seen.skipped !== null && implementation.skipped === null)) {
        implementations.set(implementation.id, implementation);
      }
    }
    for (const cell of part.cells) {
      const seen = cells.get(cell.name);
      if (seen === undefined) {
        cells.set(cell.name, { cell, attempts: [...cell.attempts], retry: cell.retry });
      } else {
        seen.attempts.push(...cell.attempts);
        seen.retry ??= cell.retry;
      }
    }
    for (const shard of part.shards) shards.set(`${shard.index}/${shard.count}`, shard);
  }
  const counts = new Set([...shards.values()].map((shard) => shard.count));
  if (counts.size > 1 || (counts.size === 1 && parts.some((part) => part.shards.length === 0))) {
    throw new MatrixError('cannot merge: the files are shards of different runs');
  }
  const missing: string[] = [];
  for (const count of counts) {
    for (let index = 1; index <= count; index++) {
      if (!shards.has(`${index}/${count}`)) missing.push(`${index}/${count}`);
    }
  }
  const interrupted = [
    ...new Set(parts.flatMap((part) => part.interrupted ?? [])),
    ...(missing.length > 0 ? [`shard ${missing.join(', ')} is missing`] : []),
  ];
  const merged = [...cells.values()].map(({ cell, attempts, retry }) =>
    judge(cell, attempts, known, retry),
  );
  const extreme = (pick: (part: Results) => string, sign: 1 | -1) =>
    parts.map(pick).reduce((a, b) => (sign * (Date.parse(a) - Date.parse(b)) <= 0 ? a : b));
  return {
    schema: RESULTS_SCHEMA,
    startedAt: extreme((part) => part.startedAt, 1),
    completedAt: extreme((part) => part.completedAt, -1),
    host: first.host,
    options: first.options,
    shards: [...shards.values()].sort((a, b) => a.index - b.index),
    interrupted: interrupted.length > 0 ? interrupted.join('; ') : null,
    summary: summarise(merged),
    implementations: [...implementations.values()],
    cells: merged,
  };
};
