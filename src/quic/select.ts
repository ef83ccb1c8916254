/** Which QUIC engine runs. Engines are imported only when one is to be used. */

import { isBuiltin } from 'node:module';
import { LeanError, messageOf } from '../errors.ts';
import type { EngineName, QuicEngine } from './engine.ts';

export interface SelectedEngine {
  readonly engine: QuicEngine;
  /** One line for logs: why it is this one. */
  readonly why: string;
}

/**
 * Loads the engine `wanted`; `auto` takes `node:quic` where the runtime has it and it can do `role`,
 * else quiche.
 *
 * @throws ERR_ENGINE_UNAVAILABLE when that engine, or with `auto` every engine, is unavailable.
 */
export const selectEngine = async (
  wanted: 'auto' | EngineName,
  role: 'dial' | 'listen',
): Promise<SelectedEngine> => {
  if (wanted === 'quiche') return { engine: await load.quiche(), why: 'quiche was asked for' };
  const lack = lackOfNodeQuic(role);
  if (wanted === 'node') {
    if (lack !== undefined) throw unavailable(`the engine node (node:quic): ${lack}`);
    return { engine: await load.node(), why: 'node:quic was asked for' };
  }
  let whyNotNode = lack;
  if (whyNotNode === undefined) {
    try {
      return { engine: await load.node(), why: 'this runtime has node:quic' };
    } catch (error) {
      whyNotNode = messageOf(error);
    }
  }
  try {
    return { engine: await load.quiche(), why: `node:quic: ${whyNotNode}` };
  } catch (error) {
    throw unavailable(
      `no QUIC engine; node:quic: ${whyNotNode}; quiche: ${messageOf(error)}`,
      error,
    );
  }
};

const load: Record<EngineName, () => Promise<QuicEngine>> = {
  node: async () => (await import('./node/engine.ts')).nodeQuicEngine(),
  quiche: async () => (await import('./quiche/engine.ts')).quicheEngine(),
};

/** Why `node:quic` cannot do `role` here; `undefined` when it can. Costs nothing. */
const lackOfNodeQuic = (role: 'dial' | 'listen'): string | undefined => {
  if (!isBuiltin('node:quic')) {
    return 'this runtime does not have it (a Node built and started with --experimental-quic, or Bun, has)';
  }
  if (role === 'listen' && process.versions.bun !== undefined) {
    return "Bun's cannot listen for libp2p: it refuses self-signed client certificates";
  }
  return undefined;
};

const unavailable = (what: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ENGINE_UNAVAILABLE', what, { cause });
