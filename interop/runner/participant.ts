/**
 * The harness contract as the runner sees it: what a participant is told through its environment,
 * and what a dialer's stdout must be. Both dialects: libp2p/unified-testing
 * (docs/write-a-transport-test-app.md there) and libp2p/test-plans (transport-interop/README.md).
 */
import { quote } from '../../src/printable.ts';
import type { Cell } from './cells.ts';
import type { Role } from './results.ts';

export type Dialect = 'unified' | 'legacy';

export interface Assignment {
  readonly cell: Cell;
  readonly role: Role;
  readonly dialect: Dialect;
  readonly redisAddress: string;
  readonly testKey: string;
  readonly listenerIp: string;
  readonly timeoutSecs: number;
  readonly debug: boolean;
}

/** Everything either dialect reads: removed from what a child inherits, so that a stray variable
 * in the runner's environment cannot change a cell. */
export const CONTRACT_VARIABLES: readonly string[] = [
  'is_dialer',
  'transport',
  'security',
  'muxer',
  'ip',
  'redis_addr',
  'test_timeout_seconds',
  'version',
  'IS_DIALER',
  'TRANSPORT',
  'SECURE_CHANNEL',
  'MUXER',
  'LISTENER_IP',
  'REDIS_ADDR',
  'TEST_KEY',
  'TEST_TIMEOUT_SECS',
  'DEBUG',
];

/** The variables of one participant, as the upstream harness of that dialect sets them. */
export const contractEnv = (assignment: Assignment): Record<string, string> => {
  const { cell, role, dialect, redisAddress, testKey, listenerIp, timeoutSecs, debug } = assignment;
  if (dialect === 'legacy') {
    return {
      is_dialer: String(role === 'dialer'),
      transport: cell.transport,
      ...(cell.secureChannel === null ? {} : { security: cell.secureChannel }),
      ...(cell.muxer === null ? {} : { muxer: cell.muxer }),
      ip: listenerIp,
      redis_addr: redisAddress,
      test_timeout_seconds: String(timeoutSecs),
    };
  }
  return {
    IS_DIALER: String(role === 'dialer'),
    REDIS_ADDR: redisAddress,
    TEST_KEY: testKey,
    TRANSPORT: cell.transport,
    LISTENER_IP: listenerIp,
    DEBUG: String(debug),
    ...(cell.secureChannel === null ? {} : { SECURE_CHANNEL: cell.secureChannel }),
    ...(cell.muxer === null ? {} : { MUXER: cell.muxer }),
    TEST_TIMEOUT_SECS: String(timeoutSecs),
  };
};

/** The Redis key under which the listener publishes its multiaddr. */
export const addressKey = (dialect: Dialect, testKey: string): string =>
  dialect === 'legacy' ? 'listenerAddr' : `${testKey}_listener_multiaddr`;

export interface Latencies {
  readonly handshakePlusOneRttMs: number;
  readonly pingRttMs: number;
}

const NUMBER = String.raw`(\d{1,9}(?:\.\d{1,12})?(?:[eE][+-]?\d{1,2})?)`;
const HANDSHAKE = new RegExp(`^  handshake_plus_one_rtt: ${NUMBER}$`);
const PING = new RegExp(`^  ping_rtt: ${NUMBER}$`);

/** Characters of a line of output that a message quotes. */
const MAX_QUOTED = 80;

/**
 * Reads a dialer's whole stdout, strictly: the result and nothing else. The unified harness greps
 * for exactly these lines, so nothing looser is accepted here.
 *
 * @returns the latencies, or one line that says what is wrong
 */
export const parseResult = (dialect: Dialect, stdout: string): Latencies | string => {
  const lines = stdout
    .split('\n')
    .map((line, index) => ({ line: line.replace(/\r$/, ''), number: index + 1 }))
    .filter(({ line }) => line.trim() !== '');
  if (lines.length === 0) return 'its stdout is empty';
  return dialect === 'legacy' ? parseJson(lines) : parseYaml(lines);
};

type Line = { readonly line: string; readonly number: number };

const parseYaml = (lines: readonly Line[]): Latencies | string => {
  let handshake: number | undefined;
  let ping: number | undefined;
  let headed = false;
  let unit = false;
  for (const { line, number } of lines) {
    if (line.startsWith('#')) continue;
    const h = HANDSHAKE.exec(line)?.[1];
    const p = PING.exec(line)?.[1];
    if (line === 'latency:' && !headed) headed = true;
    else if (headed && h !== undefined && handshake === undefined) handshake = Number(h);
    else if (headed && p !== undefined && ping === undefined) ping = Number(p);
    else if (headed && line === '  unit: ms' && !unit) unit = true;
    else
      return `line ${number} of its stdout does not belong to a result: ${quote(line, MAX_QUOTED)}`;
  }
  if (handshake === undefined) return 'its stdout has no handshake_plus_one_rtt';
  if (ping === undefined) return 'its stdout has no ping_rtt';
  if (!unit) return 'its stdout has no unit';
  return { handshakePlusOneRttMs: handshake, pingRttMs: ping };
};

const parseJson = (lines: readonly Line[]): Latencies | string => {
  const [first, second] = lines;
  if (first === undefined) return 'its stdout is empty';
  let value: unknown;
  try {
    value = JSON.parse(first.line);
  } catch {
    return `line ${first.number} of its stdout is not JSON: ${quote(first.line, MAX_QUOTED)}`;
  }
  if (second !== undefined) {
    return `line ${second.number} of its stdout does not belong to a result: ${quote(second.line, MAX_QUOTED)}`;
  }
  const result = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const milliseconds = (key: string) => {
    const field = result[key];
    return typeof field === 'number' && Number.isFinite(field) && field >= 0 ? field : undefined;
  };
  const handshake = milliseconds('handshakePlusOneRTTMillis');
  const ping = milliseconds('pingRTTMilllis'); // three l's: as upstream spells it
  if (handshake === undefined) return 'its stdout has no handshakePlusOneRTTMillis';
  if (ping === undefined) return 'its stdout has no pingRTTMilllis';
  return { handshakePlusOneRttMs: handshake, pingRttMs: ping };
};
