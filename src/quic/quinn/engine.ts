/**
 * The quinn engine: the QUIC stack that rust-libp2p runs on, on any Node.js, as dialer and listener.
 * TLS accepts any certificate whose key signed the handshake; `authenticate` verifies it before the
 * connection is used.
 */

import type { QuicEngine } from '../engine.ts';
import { checkTrace } from '../trace.ts';
import type { QuinnContext, QuinnOptions } from './context.ts';
import { dial } from './dialer.ts';
import { quinnDriver } from './driver.ts';
import { listen } from './listener.ts';

/**
 * @throws ERR_ENGINE_UNAVAILABLE when there is no binary of quinn for this platform; ERR_OPTIONS when a
 * trace cannot be written.
 */
export const quinnEngine = async (options: QuinnOptions = {}): Promise<QuicEngine> => {
  checkTrace(options);
  const driver = quinnDriver();
  const context: QuinnContext = {
    driver,
    options,
    credentials: new WeakMap(),
    sockets: new WeakMap(),
  };
  return {
    name: 'quinn',
    lacks: [],
    dialsFromListener: true,
    listen: (listenOptions) => listen(context, listenOptions),
    dial: (remote, dialOptions) => dial(context, remote, dialOptions),
  };
};
