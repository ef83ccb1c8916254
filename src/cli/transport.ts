/** `libp2p-lean transport`: the participant of the interop matrices; the environment configures it. */

import { type Environment, readEnvironment } from '../harness/environment.ts';
import { runTransportTest } from '../harness/transport-test.ts';
import { participate } from './participant.ts';

/** @throws as `readEnvironment()` and `runTransportTest()`. */
export const transport = async (environment: Environment): Promise<number> => {
  const config = readEnvironment(environment);
  const { role, dialect, key } = config;
  return participate(role, config, runTransportTest, { dialect, key });
};
