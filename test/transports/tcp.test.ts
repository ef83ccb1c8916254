import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import { transportSuite } from './tcp-suite.ts';

transportSuite({
  kind: 'tcp',
  make: tcpTransport,
  suffix: '',
  streams: [
    ['noise', 'yamux'],
    ['tls', 'mplex'],
  ],
  attach: async (socket) => ({
    write: (bytes) => {
      socket.write(bytes);
    },
  }),
});

test('a transport that could not do anything is an error', () => {
  const hostKey = generateHostKey();
  for (const [secureChannels, muxers] of [
    [[], ['yamux']],
    [['noise'], []],
    [['noise', 'tls'], ['yamux']],
  ] as const) {
    assert.throws(
      () => tcpTransport({ hostKey, secureChannels, muxers }),
      (error) => isLeanError(error, 'ERR_OPTIONS'),
    );
  }
});
