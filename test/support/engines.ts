/** Which QUIC engines the running runtime has, for tests that run once per engine. */

import { messageOf } from '../../src/errors.ts';
import type { EngineName } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';

/** Engines that can do every role of `roles` here; says in one line which are missing. */
export const enginesHere = async (roles: readonly ('dial' | 'listen')[]): Promise<EngineName[]> => {
  const here: EngineName[] = [];
  for (const name of ['quiche', 'node'] as const) {
    try {
      for (const role of roles) await selectEngine(name, role);
      here.push(name);
    } catch (error) {
      process.stderr.write(`skipped: tests with ${name} as QUIC engine: ${messageOf(error)}\n`);
    }
  }
  return here;
};
