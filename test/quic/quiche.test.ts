import { quicheEngine } from '../../src/quic/quiche.ts';
import { engineSuite } from './suite.ts';

engineSuite('quiche dials quiche', { dialer: quicheEngine, listener: quicheEngine });
