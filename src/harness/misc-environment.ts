/**
 * The misc suite's contract (libp2p/unified-testing pull request 22, `misc/README.md` there): the transport
 * suite's variables, and `PROTOCOL`, which says what to do over the connection.
 */

import {
  type Environment,
  type HarnessConfig,
  malformed,
  read,
  readEnvironment,
} from './environment.ts';

export const MISC_PROTOCOLS = ['ping', 'echo', 'identify'] as const;
export type MiscProtocol = (typeof MISC_PROTOCOLS)[number];

export interface MiscConfig extends HarnessConfig {
  readonly protocol: MiscProtocol;
}

/** Whether the misc suite started this container, which has no command. */
export const isMiscSuite = (environment: Environment): boolean =>
  protocolIn(environment) !== undefined;

/** The suite sets the first name, and for participants of the legacy dialect both. */
const protocolIn = (environment: Environment): string | undefined =>
  read(environment, 'PROTOCOL') ?? read(environment, 'protocol');

/** @throws ERR_CONFIG, ERR_UNSUPPORTED: as `readEnvironment()`. Without PROTOCOL it is ping, as upstream. */
export const readMiscEnvironment = (environment: Environment): MiscConfig => {
  const name = protocolIn(environment) ?? 'ping';
  const protocol = MISC_PROTOCOLS.find((one) => one === name);
  if (protocol === undefined) {
    throw malformed('PROTOCOL', name, `one of ${MISC_PROTOCOLS.join(', ')}`);
  }
  return { ...readEnvironment(environment), protocol };
};
