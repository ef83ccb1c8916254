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
