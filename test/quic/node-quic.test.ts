import { isBuiltin } from 'node:module';
import test from 'node:test';
import { nodeQuicEngine } from '../../src/quic/node-quic.ts';
import { engineSuite } from './suite.ts';

if (isBuiltin('node:quic')) {
  engineSuite('node:quic dials node:quic', { dialer: nodeQuicEngine, listener: nodeQuicEngine });
} else {
  test('the node:quic engine', { skip: 'this Node has no node:quic' });
}
