/**
 * Each engine against the others, as far as they are here. Both run in this process, so those with
 * node:quic take a Node that has it.
 */

import test from 'node:test';
import { messageOf } from '../../src/errors.ts';
import type { QuicEngine } from '../../src/quic/engine.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { quinnEngine } from '../../src/quic/quinn/engine.ts';
import { engineSuite } from './suite.ts';

const ENGINES: readonly [EngineName, () => Promise<QuicEngine>][] = [
  ['quinn', quinnEngine],
  ['node', nodeQuicEngine],
  ['quiche', quicheEngine],
];

const here: (typeof ENGINES)[number][] = [];
for (const [name, load] of ENGINES) {
  try {
    await load();
    here.push([name, load]);
  } catch (error) {
    test(`pairs with ${name}`, { skip: messageOf(error) });
  }
}

/** Streams that an engine's peers may open at first; quinn allows more when half of them are used. */
const allowedBy = (engine: EngineName): number => (engine === 'quinn' ? 48 : 256);

for (const [dialerName, dialer] of here) {
  for (const [listenerName, listener] of here) {
    if (dialer === listener) continue;
    engineSuite(`${dialerName} dials ${listenerName}`, {
      dialer,
      listener,
      streamsAtOnce: { dialer: allowedBy(listenerName), listener: allowedBy(dialerName) },
    });
  }
}
