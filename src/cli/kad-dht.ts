/** `libp2p-lean kad-dht`: the participant of unified-testing's kad-dht suite; the environment configures it. */

import type { Environment } from '../harness/environment.ts';
import { readKadDhtEnvironment } from '../harness/kad-dht-environment.ts';
import { runKadDhtTest } from '../harness/kad-dht-test.ts';
import { participate } from './participant.ts';

/** @throws as `readKadDhtEnvironment()` and `runKadDhtTest()`. */
export const kadDht = async (environment: Environment): Promise<number> => {
  const config = readKadDhtEnvironment(environment);
  const { role, testKey } = config;
  return participate(`kad-dht ${role}`, config, runKadDhtTest, { testKey });
};
