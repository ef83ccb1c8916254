/**
 * The container's contract: the variables that the interop runners set in the environment. There are two dialects,
 * told apart by the variables' names:
 *
 * - `legacy`: lower case, libp2p/test-plans `transport-interop/README.md`;
 * - `unified`: upper case, libp2p/unified-testing `docs/write-a-transport-test-app.md`.
 *
 * An empty value and the literal `null` count as unset.
 */

import { isIP } from 'node:net';
import type { Role } from '../connection.ts';
import { LeanError } from '../errors.ts';
import type { AddressKind } from '../multiaddr.ts';
import type { MuxerName } from '../mux/muxer.ts';
import type { QuicTrace } from '../quic/engine.ts';
import { ENGINE_CHOICES, type EngineChoice } from '../quic/engine-name.ts';
import type { SecureChannelName } from '../secure/secure-channel.ts';
import { HarnessError } from './errors.ts';
import { quicTraceOf } from './quic-trace.ts';

export type Dialect = 'legacy' | 'unified';

export interface HarnessConfig {
  readonly dialect: Dialect;
  readonly role: Role;
  readonly transport: AddressKind;
  /** Absent for transports that bring their own: `quic-v1`. */
  readonly secureChannel: SecureChannelName | undefined;
  readonly muxer: MuxerName | undefined;
  /** Where a listener binds: an IPv4 or IPv6 literal. */
  readonly listenerIp: string;
  readonly redis: RedisAddress;
  /** The Redis key under which the listener publishes its multiaddr. */
  readonly key: string;
  /** Bound of the whole run, ms. */
  readonly timeout: number;
  readonly debug: boolean;
  readonly quicEngine: EngineChoice;
  readonly quicTrace: QuicTrace;
}

export interface RedisAddress {
  /** A name or an IP literal, without brackets. */
  readonly host: string;
  readonly port: number;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** The names of a dialect's variables. Of several `timeout` names, the first that is set counts. */
interface Names {
  readonly role: string;
  readonly transport: string;
  readonly secureChannel: string;
  readonly muxer: string;
  readonly listenerIp: string;
  readonly redis: string;
  readonly timeout: readonly string[];
}

const NAMES: Readonly<Record<Dialect, Names>> = {
  legacy: {
    role: 'is_dialer',
    transport: 'transport',
    secureChannel: 'security',
    muxer: 'muxer',
    listenerIp: 'ip',
    redis: 'redis_addr',
    // Some peers read the second name.
    timeout: ['test_timeout_seconds', 'test_timeout_secs'],
  },
  unified: {
    role: 'IS_DIALER',
    transport: 'TRANSPORT',
    secureChannel: 'SECURE_CHANNEL',
    muxer: 'MUXER',
    listenerIp: 'LISTENER_IP',
    redis: 'REDIS_ADDR',
    timeout: ['TEST_TIMEOUT_SECS'],
  },
};

/** Every name that the matrices know, and whether this participant supports it. */
const namesOf = <Name extends string>(
  ours: Readonly<Record<Name, true>>,
  others: readonly string[],
): ReadonlyMap<string, boolean> =>
  new Map([
    ...Object.keys(ours).map((name) => [name, true] as const),
    ...others.map((name) => [name, false] as const),
  ]);

const TRANSPORTS = namesOf<AddressKind>({ 'quic-v1': true, tcp: true, ws: true, wss: true }, [
  'quic',
  'webtransport',
  'webrtc',
  'webrtc-direct',
  'https',
]);
const SECURE_CHANNELS = namesOf<SecureChannelName>({ noise: true, tls: true }, ['plaintext']);
const MUXERS = namesOf<MuxerName>({ yamux: true, mplex: true }, []);

const DEFAULT_TIMEOUT_SECONDS = '180';
const MAX_TIMEOUT_SECONDS = 86_400;
const LEGACY_REDIS = 'redis:6379';
const REDIS_PORT = 6379;

/** Whether the environment has variables of a harness: a role or a transport. */
export const hasHarnessVariables = (environment: Environment): boolean =>
  detectDialect(environment) !== undefined;

/** Variables that only the perf suite's dialers are given. */
const PERF_VARIABLES = [
  'UPLOAD_BYTES',
  'DOWNLOAD_BYTES',
  'UPLOAD_ITERATIONS',
  'DOWNLOAD_ITERATIONS',
  'LATENCY_ITERATIONS',
];
/** The host of the perf suite's Redis; that of the transport suite's is `transport-redis`. */
const PERF_REDIS = /^perf-redis(:|$)/;

/**
 * Whether unified-testing's perf suite started this container, which has no command. Its dialers are given the
 * sizes of transfers; its listeners differ from the transport suite's in the host of Redis only.
 */
export const isPerfSuite = (environment: Environment): boolean =>
  PERF_REDIS.test(read(environment, NAMES.unified.redis) ?? '') ||
  PERF_VARIABLES.some((name) => read(environment, name) !== undefined);

/** If both are set, upper case wins. */
const detectDialect = (environment: Environment): Dialect | undefined => {
  for (const dialect of ['unified', 'legacy'] as const) {
    const { role, transport } = NAMES[dialect];
    if (read(environment, role) !== undefined) return dialect;
    if (read(environment, transport) !== undefined) return dialect;
  }
  return undefined;
};

/**
 * Reads and checks the whole contract.
 *
 * @throws ERR_CONFIG when a variable is missing or malformed; the message names it and says what it may be.
 * ERR_UNSUPPORTED for a transport, secure channel or muxer that the matrices know but this participant does not support.
 */
export const readEnvironment = (environment: Environment): HarnessConfig => {
  const dialect = detectDialect(environment);
  if (dialect === undefined) {
    throw new HarnessError(
      'ERR_CONFIG',
      'no role given: set IS_DIALER (unified-testing) or is_dialer (test-plans) to true or false',
    );
  }
  const names = NAMES[dialect];
  const role = booleanOf(environment, names.role) ? 'dialer' : 'listener';
  const transport = choiceOf(environment, names.transport, TRANSPORTS);
  const standalone = transport.name === 'quic-v1' || !transport.supported;
  const secureChannel = choiceUnless(standalone, environment, names.secureChannel, SECURE_CHANNELS);
  const muxer = choiceUnless(standalone, environment, names.muxer, MUXERS);
  const config: HarnessConfig = {
    dialect,
    role,
    transport: transport.name as AddressKind,
    secureChannel: secureChannel?.name as SecureChannelName | undefined,
    muxer: muxer?.name as MuxerName | undefined,
    listenerIp: ipOf(environment, names.listenerIp),
    redis: redisAddressOf(environment, names.redis, dialect),
    key: dialect === 'legacy' ? 'listenerAddr' : `${testKeyOf(environment)}_listener_multiaddr`,
    timeout: timeoutOf(environment, names.timeout),
    debug: debugOf(environment, dialect),
    quicEngine: engineOf(environment),
    quicTrace: quicTraceOf(environment),
  };
  // Checked last, so that a malformed variable is reported before a missing capability.
  for (const [kind, choice, known] of [
    ['transport', transport, TRANSPORTS],
    ['secure channel', secureChannel, SECURE_CHANNELS],
    ['muxer', muxer, MUXERS],
  ] as const) {
    if (choice !== undefined && !choice.supported) {
      const what = `the ${kind} ${choice.name} is not supported here`;
      throw new LeanError('ERR_UNSUPPORTED', `${what}; supported: ${supportedOf(known)}`);
    }
  }
  return config;
};

/** The value of a variable that is set to something. */
export const read = (environment: Environment, name: string): string | undefined => {
  const value = environment[name];
  return value === undefined || value === '' || value === 'null' ? undefined : value;
};

const required = (environment: Environment, name: string, may: string): string => {
  const value = read(environment, name);
  if (value === undefined) {
    throw new HarnessError('ERR_CONFIG', `${name} is not set; it must be ${may}`);
  }
  return value;
};

export const malformed = (name: string, value: string, may: string): HarnessError =>
  new HarnessError('ERR_CONFIG', `${name} is ${quote(value)}; it must be ${may}`);

/** One printable line, whatever the value holds. */
const quote = (value: string): string =>
  JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);

export const booleanOf = (environment: Environment, name: string): boolean => {
  const value = required(environment, name, 'true or false');
  if (value !== 'true' && value !== 'false') throw malformed(name, value, 'true or false');
  return value === 'true';
};

interface Choice {
  readonly name: string;
  readonly supported: boolean;
}

const choiceOf = (
  environment: Environment,
  name: string,
  known: ReadonlyMap<string, boolean>,
): Choice => {
  const may = `one of ${supportedOf(known)}`;
  const value = required(environment, name, may);
  const supported = known.get(value);
  if (supported === undefined) throw malformed(name, value, may);
  return { name: value, supported };
};

const supportedOf = (known: ReadonlyMap<string, boolean>): string =>
  [...known].flatMap(([name, supported]) => (supported ? name : [])).join(', ');

/** A standalone transport needs no such choice: a known name is then ignored, but an unknown one is still an error. */
const choiceUnless = (
  standalone: boolean,
  environment: Environment,
  name: string,
  known: ReadonlyMap<string, boolean>,
): Choice | undefined => {
  if (standalone && read(environment, name) === undefined) return undefined;
  const choice = choiceOf(environment, name, known);
  return standalone ? undefined : choice;
};

export const ipOf = (environment: Environment, name: string): string => {
  const value = read(environment, name) ?? '0.0.0.0';
  if (isIP(value) === 0 || value.includes('%')) {
    throw malformed(name, value, 'an IPv4 or IPv6 address, such as 0.0.0.0 or ::');
  }
  return value;
};

export const redisAddressOf = (
  environment: Environment,
  name: string,
  dialect: Dialect,
): RedisAddress => {
  const may = 'host:port, such as redis:6379';
  const value =
    dialect === 'legacy'
      ? (read(environment, name) ?? LEGACY_REDIS)
      : required(environment, name, may);
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::(\d{1,5}))?$/i.exec(value);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? REDIS_PORT : Number(match[3]);
  const bracketed = match?.[1] !== undefined;
  if (host === undefined || port < 1 || port > 65_535 || (bracketed && isIP(host) !== 6)) {
    throw malformed(name, value, may);
  }
  return { host, port };
};

export const testKeyOf = (environment: Environment): string => {
  const may = 'the name of the test in Redis, such as a5b50d5e';
  const value = required(environment, 'TEST_KEY', may);
  if (!/^[\x21-\x7e]{1,128}$/.test(value)) throw malformed('TEST_KEY', value, may);
  return value;
};

export const timeoutOf = (environment: Environment, names: readonly string[]): number => {
  const name = names.find((candidate) => read(environment, candidate) !== undefined) ?? '';
  return secondsOf(name, read(environment, name) ?? DEFAULT_TIMEOUT_SECONDS);
};

/** A variable's value in seconds, as whole milliseconds. @throws ERR_CONFIG */
export const secondsOf = (name: string, value: string): number => {
  const seconds = /^\d{1,6}(\.\d{1,3})?$/.test(value) ? Number(value) : 0;
  if (seconds <= 0 || seconds > MAX_TIMEOUT_SECONDS) {
    throw malformed(name, value, `a number of seconds above 0 and up to ${MAX_TIMEOUT_SECONDS}`);
  }
  return Math.round(seconds * 1000);
};

/** The legacy dialect does not define DEBUG: there only `true` is ours, and other values may be for other programs. */
const debugOf = (environment: Environment, dialect: Dialect): boolean => {
  if (read(environment, 'DEBUG') === undefined) return false;
  if (dialect === 'legacy') return environment.DEBUG === 'true';
  return booleanOf(environment, 'DEBUG');
};

export const engineOf = (environment: Environment): EngineChoice => {
  const value = read(environment, 'QUIC_ENGINE') ?? 'auto';
  const choice = ENGINE_CHOICES.find((it) => it === value);
  if (choice === undefined) {
    throw malformed('QUIC_ENGINE', value, `one of ${ENGINE_CHOICES.join(', ')}`);
  }
  return choice;
};
