/**
 * js-libp2p's own suite for transports, `@libp2p/interface-compliance-tests`, once per QUIC engine of the
 * running runtime.
 */

import { describe } from 'node:test';
import transportSuite from '@libp2p/interface-compliance-tests/transport';
import { QUIC_V1 } from '@multiformats/multiaddr-matcher';
import { quic } from '../../src/exports/js-libp2p.ts';
import { enginesHere } from '../support/engines.ts';
import { LOOPBACK } from '../support/js-libp2p.ts';
import { withMochaGlobals } from '../support/mocha.ts';
import { SUITE } from '../support/suite-limit.ts';

for (const engine of await enginesHere(['dialer', 'listener'])) {
  describe(`compliance of the transport over ${engine}`, SUITE, () => {
    withMochaGlobals(() =>
      transportSuite({
        setup: async () => ({
          dialer: { transports: [quic({ engine })] },
          listener: { addresses: { listen: [LOOPBACK, LOOPBACK] }, transports: [quic({ engine })] },
          dialMultiaddrMatcher: QUIC_V1,
          listenMultiaddrMatcher: QUIC_V1,
        }),
        teardown: async () => {},
      }),
    );
  });
}
