import { quicheEngine } from '../../../src/quic/quiche/engine.ts';
import { engineSuite } from '../suite.ts';

engineSuite('quiche dials quiche', { dialer: quicheEngine, listener: quicheEngine });
