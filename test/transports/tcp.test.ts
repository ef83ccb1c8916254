import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateHostKey } from '../../src/identity/keys.ts';
import { tcp } from '../../src/transports/factories.ts';
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
  const secureChannels = ['noise', 'tls'] as const;
  const refused = { code: 'ERR_OPTIONS' };
  assert.throws(() => tcpTransport({ hostKey, secureChannels, muxers: ['yamux'] }), refused);
  assert.throws(() => tcp({ secureChannels: [], muxers: ['yamux'] }), refused);
  assert.throws(() => tcp({ secureChannels: ['noise'], muxers: [] }), refused);
});
