import { nodeQuicEngine } from '../../src/quic/node-quic.ts';
import { engineSuite } from './suite.ts';

engineSuite('node:quic dials node:quic', { dialer: nodeQuicEngine, listener: nodeQuicEngine });
