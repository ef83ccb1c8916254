/**
 * One attempt at one cell of the laboratory: relay, dialer and listener start at once, meet through Redis, and the
 * dialer's exit code and stdout decide. All have ended when this returns.
 */
import { join, relative } from 'node:path';
import { slugOf, testKeyOf } from '../runner/cells.ts';
import { errorLinesOf } from '../runner/error-lines.ts';
import type { Participant } from '../runner/executors.ts';
import { CONTRACT_VARIABLES } from '../runner/participant.ts';
import { type Child, type Exit, start } from '../runner/processes.ts';
import type { Attempt, FailureKind, ParticipantRecord } from '../runner/results.ts';
import type { NatCell } from './cells.ts';
import { createLaboratory, type Delays, HOSTS, type Host, type Laboratory } from './laboratory.ts';
import { parseOutcome } from './outcome.ts';

export interface NatAttemptOptions {
  readonly cell: NatCell;
  /** 1-based. */
  readonly number: number;
  /** Folder of results.json. */
  readonly out: string;
  /** The laboratory's slot; no two at once have the same. */
  readonly slot: number;
  readonly delays: Delays | undefined;
  readonly participants: ReadonlyMap<string, Participant>;
  readonly redisPort: number;
  readonly timeoutSecs: number;
  /** How long a dialer waits for a direct connection before it reports the relayed one. */
  readonly punchTimeoutSecs: number;
  readonly debug: boolean;
  /** Aborted when the whole run is to stop; its reason is a line. */
  readonly signal: AbortSignal;
}

interface Running {
  readonly child: Child;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly log: string;
}

/** A dialer gets this long beyond its own timeout. */
const GRACE_MS = 3_000;
/** How long it may still run when another side has ended. */
const GONE_MS = 2_000;

const environmentOf = (
  options: NatAttemptOptions,
  laboratory: Laboratory,
  host: Host,
  testKey: string,
): Record<string, string> => {
  const { cell, redisPort, timeoutSecs, punchTimeoutSecs, debug } = options;
  const address = laboratory.addresses[host];
  return {
    REDIS_ADDR: `${laboratory.controlAddress(host)}:${redisPort}`,
    TEST_KEY: testKey,
    TRANSPORT: cell.transport,
    ...(cell.secureChannel === null ? {} : { SECURE_CHANNEL: cell.secureChannel }),
    ...(cell.muxer === null ? {} : { MUXER: cell.muxer }),
    ...(host === 'relay'
      ? { IS_RELAY: 'true', RELAY_IP: address }
      : host === 'dialer'
        ? { IS_DIALER: 'true', DIALER_IP: address, PUNCH_TIMEOUT_SECS: String(punchTimeoutSecs) }
        : { IS_DIALER: 'false', LISTENER_IP: address }),
    TEST_TIMEOUT_SECS: String(timeoutSecs),
    DEBUG: String(debug),
  };
};

const describe = (host: Host, { error, signal, code }: Exit): string =>
  error !== undefined
    ? `the ${host} could not be started: ${error}`
    : signal !== null
      ? `the ${host} was ended by ${signal}`
      : `the ${host} exited with code ${code}`;

type Failure = { readonly kind: FailureKind; readonly message: string };

/** Never rejects for anything a participant does. @throws MatrixError when no laboratory can be made */
export const runNatAttempt = async (options: NatAttemptOptions): Promise<Attempt> => {
  const { cell, number, out, signal } = options;
  const testKey = testKeyOf(cell.name, number);
  const folder = join(out, 'logs', slugOf(cell.name), ...(number === 1 ? [] : [String(number)]));
  const startedAt = new Date();
  const began = performance.now();
  const laboratory = await createLaboratory({
    slot: options.slot,
    ...cell.nats,
    delays: options.delays,
  });
  try {
    const inherited: NodeJS.ProcessEnv = { ...process.env };
    for (const name of CONTRACT_VARIABLES) delete inherited[name];
    const launch = async (host: Host): Promise<Running> => {
      const participant = options.participants.get(cell[host]);
      if (participant === undefined) throw new Error(`${cell[host]} cannot be run here`);
      const { command } = participant;
      const env = { ...participant.env, ...environmentOf(options, laboratory, host, testKey) };
      const log = join(folder, `${host}.log`);
      const child = await start({
        command: laboratory.on(host, command),
        env: { ...inherited, ...env },
        cwd: folder,
        log,
        header: [
          ...Object.entries(env).map(([key, value]) => `${key}=${value}`),
          command.join(' '),
        ],
      });
      return { child, command, env, log };
    };
    const [relay, dialer, listener] = await Promise.all([
      launch('relay'),
      launch('dialer'),
      launch('listener'),
    ]);
    const running = { relay, dialer, listener };
    const failureOrOutcome = await watch(running, options.timeoutSecs, signal);
    const exits = await Promise.all(HOSTS.map((host) => running[host].child.stop()));
    const exitOf = (host: Host): Exit => exits[HOSTS.indexOf(host)] as Exit;

    const outcome = failureOrOutcome ?? parseOutcome(dialer.child.stdout());
    const judged: Failure | Exclude<typeof outcome, string> =
      typeof outcome === 'string'
        ? { kind: 'output', message: `the dialer exited with code 0, but ${outcome}` }
        : outcome;
    const failure = 'kind' in judged ? judged : contradiction(cell, judged.holePunch.connection);
    const record = async (host: Host): Promise<ParticipantRecord> => ({
      command: running[host].command,
      env: running[host].env,
      exitCode: exitOf(host).code,
      signal: exitOf(host).signal,
      log: relative(out, running[host].log),
      errorLines: failure === null ? [] : await errorLinesOf(running[host].log),
    });
    const measured = 'kind' in judged ? null : judged;
    return {
      status: failure === null ? 'pass' : 'fail',
      testKey,
      startedAt: startedAt.toISOString(),
      durationMs: Math.round(performance.now() - began),
      handshakePlusOneRttMs: measured?.handshakePlusOneRttMs ?? null,
      pingRttMs: measured?.pingRttMs ?? null,
      listenerReadyMs: null,
      multiaddr: null,
      network: null,
      failure,
      dialer: await record('dialer'),
      listener: await record('listener'),
      relay: await record('relay'),
      holePunch: measured?.holePunch ?? null,
    };
  } finally {
    await laboratory.close();
  }
};

const contradiction = (cell: NatCell, connection: 'direct' | 'relayed'): Failure | null =>
  cell.expected === 'either' || cell.expected === connection
    ? null
    : {
        kind: 'connection',
        message:
          connection === 'relayed'
            ? 'it stayed relayed: no direct connection came to be'
            : 'a direct connection came to be through NATs that cannot have let it through',
      };

/** Waits for the dialer. @returns what went wrong, or undefined when it exited with code 0 */
const watch = async (
  { relay, dialer, listener }: Readonly<Record<Host, Running>>,
  timeoutSecs: number,
  signal: AbortSignal,
): Promise<Failure | undefined> => {
  const timers: NodeJS.Timeout[] = [];
  const after = <T>(ms: number, value: T): Promise<T> =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(value), ms);
      timer.unref();
      timers.push(timer);
    });
  let onAbort = (): void => {};
  const aborted = new Promise<Failure>((resolve) => {
    onAbort = () => resolve({ kind: 'interrupted', message: String(signal.reason) });
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  const gone = (host: Host, { child }: Running): Promise<Failure> =>
    child.exited.then((exit) =>
      after(GONE_MS, {
        kind: exit.error === undefined ? `${host}-exit` : 'start',
        message: `${describe(host, exit)} before the dialer was done`,
      } as const),
    );
  try {
    return await Promise.race([
      dialer.child.exited.then((exit): Failure | undefined =>
        exit.code === 0
          ? undefined
          : {
              kind: exit.error === undefined ? 'dialer-exit' : 'start',
              message: describe('dialer', exit),
            },
      ),
      gone('relay', relay),
      gone('listener', listener),
      aborted,
      after<Failure>(timeoutSecs * 1000 + GRACE_MS, {
        kind: 'timeout',
        message: `timed out after ${timeoutSecs} s`,
      }),
    ]);
  } finally {
    for (const timer of timers) clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
};
