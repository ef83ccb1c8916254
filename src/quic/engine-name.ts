/** The QUIC engines, each in the folder of its name. */

import { checkNames } from '../check-names.ts';

/**
 * `quinn` is quinn, in Rust, through our own N-API binding; `node` is `node:quic`; `quiche` is
 * Cloudflare's quiche through its N-API binding.
 */
export const ENGINE_NAMES = ['quinn', 'node', 'quiche'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

/** What a user may ask for; `auto`: see `selectEngine`. */
export type EngineChoice = 'auto' | EngineName;
export const ENGINE_CHOICES: readonly EngineChoice[] = ['auto', ...ENGINE_NAMES];

/** @throws ERR_OPTIONS when it is none of them. */
export const checkEngineChoice = (wanted: EngineChoice): void =>
  checkNames('QUIC engine', [wanted], ENGINE_CHOICES);
