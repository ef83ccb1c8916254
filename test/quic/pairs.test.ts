/** Each engine against the other. Both run in this process, so it takes a Node with `node:quic`. */

import { isBuiltin } from 'node:module';
import test from 'node:test';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { engineSuite } from './suite.ts';

if (isBuiltin('node:quic')) {
  engineSuite('node:quic dials quiche', { dialer: nodeQuicEngine, listener: quicheEngine });
  engineSuite('quiche dials node:quic', { dialer: quicheEngine, listener: nodeQuicEngine });
} else {
  test('pairs of engines', { skip: 'this Node has no node:quic' });
}
