/** Selects the QUIC engine. An engine is imported only when it is used. */

import { isBuiltin } from 'node:module';
import type { Role } from '../connection.ts';
import { isLeanError, LeanError, messageOf } from '../errors.ts';
import { checkRuntime, RUNTIME } from '../runtime.ts';
import type { QuicEngine, QuicTrace } from './engine.ts';
import { checkEngineChoice, type EngineChoice, type EngineName } from './engine-name.ts';

export interface SelectedEngine {
  readonly engine: QuicEngine;
  /** Why this one was chosen; one line for logs. */
  readonly why: string;
  /** A warning for those who listen beyond loopback; one line. */
  readonly caution?: string;
}

/** The order in which `auto` tries them. */
const PREFERENCE: readonly EngineName[] = ['quinn', 'node', 'quiche'];

const LABEL: Record<EngineName, string> = { quinn: 'quinn', node: 'node:quic', quiche: 'quiche' };

/**
 * Loads the engine `wanted`; `auto` takes quinn if its binary is installed, else `node:quic` if the
 * runtime has it and supports `role`, else quiche.
 *
 * @throws ERR_ENGINE_UNAVAILABLE when that engine, or with `auto` every engine, is unavailable; ERR_OPTIONS
 * when there is no engine of that name, or `trace` cannot be written; ERR_UNSUPPORTED on a Node.js that is too old.
 */
export const selectEngine = async (
  wanted: EngineChoice,
  role: Role,
  trace: QuicTrace = {},
): Promise<SelectedEngine> => {
  checkRuntime();
  checkEngineChoice(wanted);
  if (wanted !== 'auto') {
    return { engine: await load[wanted](role, trace), why: `${LABEL[wanted]} was asked for` };
  }
  const lacks: string[] = [];
  let last: unknown;
  for (const name of PREFERENCE) {
    try {
      const engine = await load[name](role, trace);
      const why = lacks.length === 0 ? `${LABEL[name]} is here` : lacks.join('; ');
      return name === 'quiche' ? { engine, why, caution: CAUTION } : { engine, why };
    } catch (error) {
      if (isLeanError(error, 'ERR_OPTIONS')) throw error;
      lacks.push(messageOf(error));
      last = error;
    }
  }
  throw unavailable(`no QUIC engine; ${lacks.join('; ')}`, last);
};

const CAUTION =
  'the QUIC engine is quiche 0.18, of 2023, which has known vulnerabilities; quinn, the better one, is not here';

const load: Record<EngineName, (role: Role, trace: QuicTrace) => Promise<QuicEngine>> = {
  quinn: async (_, trace) => (await import('./quinn/engine.ts')).quinnEngine(trace),
  node: async (role, trace) => {
    const lack = lackOfNodeQuic(role);
    if (lack !== undefined) throw unavailable(`the engine node (node:quic): ${lack}`);
    return (await import('./node/engine.ts')).nodeQuicEngine(trace);
  },
  quiche: async (_, trace) => (await import('./quiche/engine.ts')).quicheEngine(trace),
};

/** Why `node:quic` does not support `role` here; `undefined` if it does. Loads nothing. */
const lackOfNodeQuic = (role: Role): string | undefined => {
  if (!isBuiltin('node:quic')) {
    return 'this runtime does not have it (a Node built and started with --experimental-quic, or Bun, has)';
  }
  if (role === 'listener' && !RUNTIME.quicListens) {
    return "Bun's cannot listen for libp2p: it refuses self-signed client certificates";
  }
  return undefined;
};

const unavailable = (what: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ENGINE_UNAVAILABLE', what, { cause });
