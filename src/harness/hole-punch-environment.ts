/**
 * The hole-punch suites' contracts, which differ from the transport suite's:
 *
 * - `unified`: libp2p/unified-testing `hole-punch/lib/run-single-test.sh` (its `docs/` are out of date): `IS_DIALER`
 *   with `DIALER_IP` or `LISTENER_IP`; a relay gets `RELAY_IP` and no `IS_DIALER`, here also `IS_RELAY`;
 * - `legacy`: libp2p/test-plans `hole-punch-interop/README.md`: `MODE` and `TRANSPORT`. Its relay is its own.
 *
 * The image sets up routes (`WAN_SUBNET`, `WAN_ROUTER_IP`, …).
 */

import { LeanError } from '../errors.ts';
import {
  booleanOf,
  type Environment,
  type HarnessConfig,
  ipOf,
  malformed,
  read,
  readEnvironment,
  secondsOf,
  testKeyOf,
} from './environment.ts';
import { HarnessError } from './errors.ts';

export type HolePunchRole = 'dialer' | 'listener' | 'relay';

export interface HolePunchConfig extends Omit<HarnessConfig, 'role' | 'key' | 'listenerIp'> {
  readonly role: HolePunchRole;
  /** Where it listens: the address in its local network. */
  readonly ip: string;
  /** The Redis keys of the relay's multiaddr and of the listener's peer id. */
  readonly keys: { readonly relay: string; readonly listener: string };
  /**
   * How long a dialer waits for a direct connection before it reports that the connection stayed relayed, ms;
   * its report then has more lines. Undefined: it waits until the test's timeout, and fails.
   */
  readonly punchTimeout: number | undefined;
}

/** The host of the suite's Redis. */
const HOLE_PUNCH_REDIS = /^hole-punch-redis(:|$)/;

/** Whether a hole-punch suite started this container, which has no command. */
export const isHolePunchSuite = (environment: Environment): boolean =>
  HOLE_PUNCH_REDIS.test(read(environment, 'REDIS_ADDR') ?? '') ||
  ['WAN_ROUTER_IP', 'RELAY_IP', 'IS_RELAY'].some((name) => read(environment, name) !== undefined) ||
  isLegacy(environment);

const isLegacy = (environment: Environment): boolean => {
  const mode = read(environment, 'MODE');
  return (mode === 'dial' || mode === 'listen') && read(environment, 'IS_DIALER') === undefined;
};

/** @throws ERR_CONFIG, ERR_UNSUPPORTED: as `readEnvironment()`. */
export const readHolePunchEnvironment = (environment: Environment): HolePunchConfig =>
  isLegacy(environment) ? readLegacy(environment) : readUnified(environment);

const IP_VARIABLES: Readonly<Record<HolePunchRole, string>> = {
  dialer: 'DIALER_IP',
  listener: 'LISTENER_IP',
  relay: 'RELAY_IP',
};

const readUnified = (environment: Environment): HolePunchConfig => {
  const role = roleOf(environment);
  // The transport suite's contract names one address, that of the listener.
  const { key: _key, ...config } = readEnvironment({
    ...environment,
    IS_DIALER: String(role === 'dialer'),
    LISTENER_IP: undefined,
  });
  if (config.transport !== 'quic-v1' && config.transport !== 'tcp') {
    const what = `the transport ${config.transport} cannot punch holes`;
    throw new LeanError('ERR_UNSUPPORTED', `${what}; these can: quic-v1, tcp`);
  }
  const testKey = testKeyOf(environment);
  const patience = read(environment, 'PUNCH_TIMEOUT_SECS');
  return {
    ...config,
    role,
    ip: ipOf(environment, IP_VARIABLES[role]),
    keys: { relay: `${testKey}_relay_multiaddr`, listener: `${testKey}_listener_peer_id` },
    punchTimeout: patience === undefined ? undefined : secondsOf('PUNCH_TIMEOUT_SECS', patience),
  };
};

const roleOf = (environment: Environment): HolePunchRole => {
  const isRelay = read(environment, 'IS_RELAY') !== undefined;
  if (isRelay && booleanOf(environment, 'IS_RELAY')) return 'relay';
  if (read(environment, 'IS_DIALER') !== undefined) {
    return booleanOf(environment, 'IS_DIALER') ? 'dialer' : 'listener';
  }
  if (read(environment, 'RELAY_IP') !== undefined) return 'relay';
  throw new HarnessError(
    'ERR_CONFIG',
    'no role given: set IS_DIALER to true or false, or IS_RELAY to true',
  );
};

const LEGACY_TRANSPORTS: Readonly<Record<string, string>> = { tcp: 'tcp', quic: 'quic-v1' };

const readLegacy = (environment: Environment): HolePunchConfig => {
  const given = read(environment, 'TRANSPORT') ?? '';
  const transport = Object.hasOwn(LEGACY_TRANSPORTS, given) ? LEGACY_TRANSPORTS[given] : undefined;
  if (transport === undefined) throw malformed('TRANSPORT', given, 'tcp or quic');
  const config = readUnified({
    ...environment,
    IS_RELAY: undefined,
    IS_DIALER: String(read(environment, 'MODE') === 'dial'),
    TRANSPORT: transport,
    SECURE_CHANNEL: 'noise',
    MUXER: 'yamux',
    REDIS_ADDR: read(environment, 'REDIS_ADDR') ?? 'redis:6379',
    TEST_KEY: 'test-plans',
  });
  return {
    ...config,
    dialect: 'legacy',
    keys: {
      relay: transport === 'tcp' ? 'RELAY_TCP_ADDRESS' : 'RELAY_QUIC_ADDRESS',
      listener: 'LISTEN_CLIENT_PEER_ID',
    },
  };
};
