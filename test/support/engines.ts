/** Which QUIC engines the running runtime has, for tests that run once per engine. */

import type { Role } from '../../src/connection.ts';
import { messageOf } from '../../src/errors.ts';
import { ENGINE_NAMES, type EngineName } from '../../src/quic/engine-name.ts';
import { lackOfQuinn } from '../../src/quic/quinn/binding.ts';
import { selectEngine } from '../../src/quic/select.ts';

/** Engines that can do every role of `roles` here; says in one line which are missing. */
export const enginesHere = async (roles: readonly Role[]): Promise<EngineName[]> => {
  const here: EngineName[] = [];
  for (const name of ENGINE_NAMES) {
    try {
      for (const role of roles) await selectEngine(name, role);
      here.push(name);
    } catch (error) {
      process.stderr.write(`skipped: tests with ${name} as QUIC engine: ${messageOf(error)}\n`);
    }
  }
  return here;
};

/** Why there is no quinn here; `undefined` where it is. */
export const whyNoQuinn: string | undefined = lackOfQuinn();
