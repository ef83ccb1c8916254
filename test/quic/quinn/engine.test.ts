import test from 'node:test';
import { quinnEngine } from '../../../src/quic/quinn/engine.ts';
import { whyNoQuinn } from '../../support/engines.ts';
import { engineSuite } from '../suite.ts';

if (whyNoQuinn === undefined) {
  engineSuite('quinn dials quinn', { dialer: quinnEngine, listener: quinnEngine });
} else {
  test('quinn', { skip: whyNoQuinn });
}
