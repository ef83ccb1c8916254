/**
 * One attempt at one cell: a listener and a dialer find each other through Redis; the dialer's exit code
 * and stdout decide. Both are started at once, as the upstream harnesses do, and neither is running any
 * more when this returns.
 */
import { join, relative } from 'node:path';
import { printable } from '../../src/printable.ts';
import { type Cell, slugOf, testKeyOf } from './cells.ts';
import { errorLinesOf } from './error-lines.ts';
import { addressKey, type Dialect, type Latencies, parseResult } from './participant.ts';
import type { Child, Exit } from './processes.ts';
import type { Publication } from './redis.ts';
import type { Attempt, FailureKind, NetworkRecord, ParticipantRecord, Role } from './results.ts';
import { type LoggedSide, writeTimeline } from './timeline.ts';

/** What an executor (of processes, or of containers) gives to one attempt. */
export interface AttemptContext {
  readonly dialect: Dialect;
  /** Starts one participant. `log` is the file for its output; `connection` (1-based) tells dialers apart. */
  start(role: Role, log: string, connection: number): Promise<Started>;
  /** How many dialers run, one after the other. */
  readonly connections: number;
  /** What the network did; null without a condition. */
  network(): Promise<NetworkRecord | null>;
  published(key: string): Publication | undefined;
  /** Ends what belongs to this attempt alone. */
  close(): Promise<void>;
}

export interface Started {
  readonly child: Child;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

export interface AttemptOptions {
  readonly cell: Cell;
  /** 1-based. */
  readonly number: number;
  /** Folder of results.json. */
  readonly out: string;
  readonly timeoutSecs: number;
  /** The retry of a failed cell, which leaves traces behind; in a folder of its own, under a key of its own. */
  readonly traced: boolean;
  /** Aborted when the whole run is to stop; its reason is a line. */
  readonly signal: AbortSignal;
  readonly prepare: (testKey: string) => Promise<AttemptContext>;
}

/** A participant gets this long beyond its own timeout before the runner ends it. */
const GRACE_MS = 3000;
/** How long a dialer may still run after its listener has ended. */
const LISTENER_GONE_MS = 2000;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const describe = (role: Role, exit: Exit): string =>
  exit.error !== undefined
    ? `the ${role} could not be started: ${exit.error}`
    : exit.signal !== null
      ? `the ${role} was ended by ${exit.signal}`
      : `the ${role} exited with code ${exit.code}${exit.code === 127 ? ' (not supported, or not found)' : ''}`;

type Event =
  | { readonly kind: 'dialer' | 'listener'; readonly exit: Exit }
  | { readonly kind: 'timeout' | 'aborted' | 'listener-gone' };

/** Runs one attempt. Never rejects for anything a participant does. */
export const runAttempt = async (options: AttemptOptions): Promise<Attempt> => {
  const { cell, number, out, timeoutSecs, signal } = options;
  const testKey = testKeyOf(options.traced ? `${cell.name} again` : cell.name, number);
  const place = options.traced ? ['retry'] : number === 1 ? [] : [String(number)];
  const folder = join(out, 'logs', slugOf(cell.name), ...place);
  const logs: Record<Role, string> = {
    listener: join(folder, 'listener.log'),
    dialer: join(folder, 'dialer.log'),
  };
  /** Of the connections before the last. */
  const earlier: Latencies[] = [];
  const startedAt = new Date();
  const began = performance.now();
  const context = await options.prepare(testKey);
  const key = addressKey(context.dialect, testKey);
  const launchedAt = performance.now();
  const [listener, firstDialer] = await Promise.all([
    context.start('listener', logs.listener, 1),
    context.start('dialer', logs.dialer, 1),
  ]);
  let dialer = firstDialer;
  const logged: LoggedSide[] = [
    { role: 'listener', log: logs.listener, startedAt: listener.child.startedAt },
    { role: 'dialer', log: logs.dialer, startedAt: dialer.child.startedAt },
  ];

  const timers: NodeJS.Timeout[] = [];
  const after = (ms: number, kind: 'timeout' | 'listener-gone') =>
    new Promise<Event>((resolve) => {
      timers.push(setTimeout(() => resolve({ kind }), ms));
    });
  let onAbort = () => {};
  const aborted = new Promise<Event>((resolve) => {
    onAbort = () => resolve({ kind: 'aborted' });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  const listenerDone = listener.child.exited.then((exit): Event => ({ kind: 'listener', exit }));
  const limit = after(timeoutSecs * 1000 + GRACE_MS, 'timeout');

  let first: Event;
  let earlyListenerExit: Exit | undefined;
  for (;;) {
    const dialerDone = dialer.child.exited.then((exit): Event => ({ kind: 'dialer', exit }));
    first = await Promise.race([dialerDone, listenerDone, limit, aborted]);
    if (first.kind === 'listener') {
      earlyListenerExit = first.exit;
      first = await Promise.race([
        dialerDone,
        after(LISTENER_GONE_MS, 'listener-gone'),
        limit,
        aborted,
      ]);
    }
    if (first.kind !== 'dialer' || first.exit.code !== 0 || earlyListenerExit !== undefined) break;
    const result = parseResult(context.dialect, dialer.child.stdout());
    if (typeof result === 'string' || earlier.length + 1 === context.connections) break;
    earlier.push(result);
    const connection = earlier.length + 1;
    logs.dialer = join(folder, `dialer-${connection}.log`);
    dialer = await context.start('dialer', logs.dialer, connection);
    logged.push({ role: 'dialer', log: logs.dialer, startedAt: dialer.child.startedAt });
  }
  for (const timer of timers) clearTimeout(timer);
  signal.removeEventListener('abort', onAbort);

  const [dialerExit, listenerExit] = await Promise.all([
    dialer.child.stop(),
    listener.child.stop(),
  ]);
  const publication = context.published(key);
  const network = await context.network();
  await context.close();

  const outcome = judgeAttempt({
    event: first,
    dialect: context.dialect,
    stdout: dialer.child.stdout(),
    earlyListenerExit,
    timeoutSecs,
    reason: String(signal.reason ?? 'interrupted'),
    publication:
      publication === undefined
        ? 'the listener never published its address'
        : `the listener published ${printable(publication.multiaddr)} after ${seconds(publication.at - launchedAt)}`,
  });
  const failed = 'kind' in outcome;
  const slowest = (key: keyof Latencies): number =>
    Math.max(...[...earlier, ...(failed ? [] : [outcome])].map((latencies) => latencies[key]));

  const record = async (role: Role, started: Started, exit: Exit): Promise<ParticipantRecord> => ({
    command: started.command,
    env: started.env,
    exitCode: exit.code,
    signal: exit.signal,
    log: relative(out, logs[role]),
    errorLines: failed ? await errorLinesOf(logs[role]) : [],
  });
  const [dialerRecord, listenerRecord] = await Promise.all([
    record('dialer', dialer, dialerExit),
    record('listener', listener, listenerExit),
  ]);
  const trace = options.traced
    ? await writeTimeline({ title: `${cell.name}, again`, out, folder, sides: logged })
    : undefined;
  return {
    status: failed ? 'fail' : 'pass',
    testKey,
    startedAt: startedAt.toISOString(),
    durationMs: Math.round(performance.now() - began),
    handshakePlusOneRttMs: failed ? null : slowest('handshakePlusOneRttMs'),
    pingRttMs: failed ? null : slowest('pingRttMs'),
    listenerReadyMs:
      publication === undefined ? null : Math.round((publication.at - launchedAt) * 10) / 10,
    multiaddr: publication?.multiaddr ?? null,
    network,
    failure: failed ? outcome : null,
    dialer: dialerRecord,
    listener: listenerRecord,
    ...(trace && { trace }),
  };
};

/** Turns what happened into latencies, or into a failure with one line. */
const judgeAttempt = (seen: {
  readonly event: Event;
  readonly dialect: Dialect;
  readonly stdout: string;
  /** How the listener ended, if it did before the dialer. */
  readonly earlyListenerExit: Exit | undefined;
  readonly timeoutSecs: number;
  readonly reason: string;
  /** What the listener published, as a clause. */
  readonly publication: string;
}): Latencies | { readonly kind: FailureKind; readonly message: string } => {
  const { event, earlyListenerExit } = seen;
  const early =
    earlyListenerExit === undefined
      ? ''
      : `${describe('listener', earlyListenerExit)} before the dialer was done`;
  if (event.kind === 'aborted') return { kind: 'interrupted', message: seen.reason };
  if (event.kind === 'timeout') {
    return {
      kind: 'timeout',
      message: `timed out after ${seen.timeoutSecs} s: ${seen.publication}`,
    };
  }
  if (event.kind !== 'dialer') {
    return {
      kind: earlyListenerExit?.error === undefined ? 'listener-exit' : 'start',
      message: early,
    };
  }
  if (event.exit.error !== undefined)
    return { kind: 'start', message: describe('dialer', event.exit) };
  if (event.exit.code !== 0) {
    if (earlyListenerExit !== undefined) {
      return {
        kind: earlyListenerExit.error === undefined ? 'listener-exit' : 'start',
        message: `${early}; ${describe('dialer', event.exit)}`,
      };
    }
    return {
      kind: 'dialer-exit',
      message: `${describe('dialer', event.exit)}; ${seen.publication}`,
    };
  }
  const result = parseResult(seen.dialect, seen.stdout);
  return typeof result === 'string'
    ? { kind: 'output', message: `the dialer exited with code 0, but ${result}` }
    : result;
};
