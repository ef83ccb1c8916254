import test from 'node:test';
import { quinnEngine } from '../../../src/quic/quinn/engine.ts';
import { whyNoQuinn } from '../../support/engines.ts';
import { engineSuite } from '../suite.ts';

if (whyNoQuinn === undefined) {
  const streamsAtOnce = { dialer: 48, listener: 48 };
  engineSuite('quinn dials quinn', { dialer: quinnEngine, listener: quinnEngine, streamsAtOnce });
} else {
  test('quinn', { skip: whyNoQuinn });
}
