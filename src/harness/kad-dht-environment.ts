/**
 * The kad-dht suite's contract (libp2p/unified-testing `kad-dht/README.md`): `ROLE`, `REDIS_ADDR` and
 * `TEST_KEY` are all that its runner sets. What else is read here is this project's: `TRANSPORT`,
 * `LISTENER_IP`, `TEST_TIMEOUT_SECS`, `DEBUG` and `QUIC_ENGINE`, as in the transport suite.
 */

import type { EngineChoice } from '../quic/engine-name.ts';
import {
  type Environment,
  engineOf,
  ipOf,
  malformed,
  type RedisAddress,
  read,
  redisAddressOf,
  testKeyOf,
  timeoutOf,
} from './environment.ts';
import { HarnessError } from './errors.ts';

const ROLES = ['bootstrap', 'provider', 'querier'] as const;
const TRANSPORTS = ['tcp', 'quic-v1'] as const;

export type KadDhtRole = (typeof ROLES)[number];

export interface KadDhtConfig {
  readonly role: KadDhtRole;
  readonly redis: RedisAddress;
  readonly testKey: string;
  /** That of the address that a bootstrap publishes and of all connections; the node has no other. */
  readonly transport: (typeof TRANSPORTS)[number] | 'both';
  /** Where it binds: an IP literal; undefined: the address on the way to Redis. */
  readonly listenerIp: string | undefined;
  /** Bound of the whole run, ms. */
  readonly timeout: number;
  readonly debug: boolean;
  readonly quicEngine: EngineChoice;
}

/** @throws ERR_CONFIG: a variable is missing or malformed; one line names it and says what it may be. */
export const readKadDhtEnvironment = (environment: Environment): KadDhtConfig => ({
  role: oneOf(environment, 'ROLE', ROLES),
  redis: redisAddressOf(environment, 'REDIS_ADDR', 'unified'),
  testKey: testKeyOf(environment),
  transport: oneOf(environment, 'TRANSPORT', [...TRANSPORTS, 'both'], 'both'),
  listenerIp:
    read(environment, 'LISTENER_IP') === undefined ? undefined : ipOf(environment, 'LISTENER_IP'),
  timeout: timeoutOf(environment, ['TEST_TIMEOUT_SECS']),
  debug: oneOf(environment, 'DEBUG', ['true', 'false'], 'false') === 'true',
  quicEngine: engineOf(environment),
});

const oneOf = <Name extends string>(
  environment: Environment,
  name: string,
  known: readonly Name[],
  fallback?: Name,
): Name => {
  const may = `one of ${known.join(', ')}`;
  const value = read(environment, name) ?? fallback;
  if (value === undefined)
    throw new HarnessError('ERR_CONFIG', `${name} is not set; it must be ${may}`);
  const found = known.find((one) => one === value);
  if (found === undefined) throw malformed(name, value, may);
  return found;
};
