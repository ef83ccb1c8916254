/** `libp2p-lean hole-punch`: the participant of the hole-punch suites; the environment configures it. */

import type { Environment } from '../harness/environment.ts';
import { readHolePunchEnvironment } from '../harness/hole-punch-environment.ts';
import { runHolePunchTest } from '../harness/hole-punch-test.ts';
import { participate } from './participant.ts';

/** @throws as `readHolePunchEnvironment()` and `runHolePunchTest()`. */
export const holePunch = async (environment: Environment): Promise<number> => {
  const config = readHolePunchEnvironment(environment);
  const { role, dialect, ip, keys } = config;
  return participate(`hole-punch ${role}`, config, runHolePunchTest, { dialect, ip, ...keys });
};
