/** From the harness's names to transports; only what the test needs is imported. */

import { LeanError } from '../errors.ts';
import type { NodeOptions } from '../node.ts';
import type { HarnessConfig } from './environment.ts';

/** The part of the node's options that a test decides. QUIC is the node's default. */
export const transportsFor = async (
  config: Pick<HarnessConfig, 'transport' | 'secureChannel' | 'muxer'>,
): Promise<NodeOptions> => {
  if (config.transport === 'quic-v1') return {};
  throw new LeanError('ERR_UNSUPPORTED', `the transport ${config.transport} is not supported here`);
};
