/**
 * One attempt at one cell of the kad-dht suite: three participants start at once and find each other
 * through Redis; the querier's exit code and stdout decide, as with unified-testing's
 * `docker compose up --exit-code-from querier --abort-on-container-exit`. All of them have ended when this
 * returns.
 */
import { join, relative } from 'node:path';
import { quote } from '../../src/printable.ts';
import { slugOf } from '../runner/cells.ts';
import { MatrixError } from '../runner/error.ts';
import { errorLinesOf } from '../runner/error-lines.ts';
import type { Participant } from '../runner/executors.ts';
import { CONTRACT_VARIABLES } from '../runner/participant.ts';
import { type Exit, start } from '../runner/processes.ts';
import { KAD_DHT_ROLES, type KadDhtCell, type KadDhtRole, kadDhtTestKeyOf } from './cells.ts';

export interface KadDhtAttempt {
  readonly status: 'pass' | 'fail';
  readonly testKey: string;
  readonly startedAt: string;
  readonly durationMs: number;
  /** One line; null when it passed. */
  readonly failure: string | null;
  readonly participants: Readonly<
    Record<
      KadDhtRole,
      {
        readonly command: readonly string[];
        readonly exitCode: number | null;
        /** Path of the log file, relative to the folder of results.json. */
        readonly log: string;
        /** The first lines of its log that look like the reason, at most 5; only on failure. */
        readonly errorLines: readonly string[];
      }
    >
  >;
}

export interface KadDhtAttemptOptions {
  readonly cell: KadDhtCell;
  /** 1-based. */
  readonly number: number;
  /** Folder of results.json. */
  readonly out: string;
  readonly timeoutSecs: number;
  readonly redisAddress: string;
  readonly participants: ReadonlyMap<string, Participant>;
  readonly debug: boolean;
  /** Aborted when the whole run is to stop; its reason is a line. */
  readonly signal: AbortSignal;
}

/** Further variables that the suite's participants read, beside {@link CONTRACT_VARIABLES}. */
const ROLE = 'ROLE';
/** A participant gets this long beyond its own timeout before the runner ends it, ms. */
const GRACE_MS = 3_000;
const MAX_QUOTED = 200;

type Outcome =
  | { readonly role: KadDhtRole; readonly exit: Exit }
  | { readonly role: 'timeout' | 'aborted' };

/** Runs one attempt. Never rejects for anything a participant does. */
export const runKadDhtAttempt = async (options: KadDhtAttemptOptions): Promise<KadDhtAttempt> => {
  const { cell, number, out, signal, timeoutSecs } = options;
  const testKey = kadDhtTestKeyOf(cell.name, number);
  const folder = join(out, 'logs', slugOf(cell.name), ...(number === 1 ? [] : [String(number)]));
  const startedAt = new Date();
  const began = performance.now();

  const inherited: NodeJS.ProcessEnv = { ...process.env };
  for (const name of [ROLE, ...CONTRACT_VARIABLES]) delete inherited[name];
  const started = await Promise.all(
    KAD_DHT_ROLES.map(async (role) => {
      const participant = options.participants.get(cell[role]);
      if (participant === undefined) throw new MatrixError(`${cell[role]} cannot be run here`);
      const { command } = participant;
      const env = {
        ...participant.env,
        [ROLE]: role,
        REDIS_ADDR: options.redisAddress,
        TEST_KEY: testKey,
        TRANSPORT: cell.transport,
        TEST_TIMEOUT_SECS: String(timeoutSecs),
        DEBUG: String(options.debug),
      };
      const log = join(folder, `${role}.log`);
      const header = [
        ...Object.entries(env).map(([key, value]) => `${key}=${value}`),
        command.join(' '),
      ];
      const child = await start({
        command,
        env: { ...inherited, ...env },
        cwd: out,
        log,
        header,
      });
      return { role, command, log, child };
    }),
  );

  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const ended: Promise<Outcome>[] = [
    ...started.map(async ({ role, child }) => ({ role, exit: await child.exited })),
    new Promise((resolve) => {
      timer = setTimeout(() => resolve({ role: 'timeout' }), timeoutSecs * 1000 + GRACE_MS);
    }),
    new Promise((resolve) => {
      onAbort = () => resolve({ role: 'aborted' });
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
    }),
  ];
  const first = await Promise.race(ended);
  clearTimeout(timer);
  signal.removeEventListener('abort', onAbort);
  const exits = await Promise.all(started.map(({ child }) => child.stop()));

  const querier = started.find(({ role }) => role === 'querier');
  const failure = judgeKadDht(first, querier?.child.stdout() ?? '', timeoutSecs, signal.reason);
  const records = await Promise.all(
    started.map(async ({ role, command, log }, index) => [
      role,
      {
        command,
        exitCode: exits[index]?.code ?? null,
        log: relative(out, log),
        errorLines: failure === null ? [] : await errorLinesOf(log),
      },
    ]),
  );
  return {
    status: failure === null ? 'pass' : 'fail',
    testKey,
    startedAt: startedAt.toISOString(),
    durationMs: Math.round(performance.now() - began),
    failure,
    participants: Object.fromEntries(records) as KadDhtAttempt['participants'],
  };
};

const describe = (role: string, exit: Exit): string =>
  exit.error !== undefined
    ? `the ${role} could not be started: ${exit.error}`
    : exit.signal !== null
      ? `the ${role} was ended by ${exit.signal}`
      : `the ${role} exited with code ${exit.code}`;

/** Null, or one line that says why it failed. */
const judgeKadDht = (
  first: Outcome,
  stdout: string,
  timeoutSecs: number,
  reason: unknown,
): string | null => {
  if (!('exit' in first)) {
    return first.role === 'timeout'
      ? `timed out after ${timeoutSecs} s`
      : String(reason ?? 'interrupted');
  }
  const how = describe(first.role, first.exit);
  if (first.role !== 'querier') return `${how} before the querier was done`;
  const lines = stdout.split('\n').map((line) => line.trim());
  const error = lines.find((line) => line.startsWith('error:'));
  if (first.exit.code !== 0) {
    return `${how}${error === undefined ? '' : `: ${quote(error, MAX_QUOTED)}`}`;
  }
  if (lines.some((line) => line.startsWith('status: fail'))) return `${how}, but said status: fail`;
  return lines.includes('status: pass') ? null : `${how}, but never said status: pass`;
};
