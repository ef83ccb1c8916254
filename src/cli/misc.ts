/** `libp2p-lean misc`: the participant of unified-testing's misc suite; the environment configures it. */

import type { Environment } from '../harness/environment.ts';
import { readMiscEnvironment } from '../harness/misc-environment.ts';
import { runMiscTest } from '../harness/misc-test.ts';
import { participate } from './participant.ts';

/** @throws as `readMiscEnvironment()` and `runMiscTest()`. */
export const misc = async (environment: Environment): Promise<number> => {
  const config = readMiscEnvironment(environment);
  const { protocol, role, key } = config;
  return participate(`misc ${protocol} ${role}`, config, runMiscTest, { key });
};
