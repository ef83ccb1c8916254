/** The quiche engine: dials and listens over UDP sockets of `node:dgram`. */

import { LeanError } from '../../errors.ts';
import type { QuicEngine, QuicListener, QuicTrace } from '../engine.ts';
import { checkTrace, keyLogOf } from '../trace.ts';
import { loadQuiche } from './binding.ts';
import type { ConfigContext } from './config.ts';
import { dial } from './dialer.ts';
import { listen } from './listener.ts';

/**
 * @param trace only the key log is written: the binding has no qlog.
 *
 * @throws ERR_ENGINE_UNAVAILABLE when there is no quiche binding for this platform; ERR_OPTIONS when the
 * trace cannot be written.
 */
export const quicheEngine = async (trace: QuicTrace = {}): Promise<QuicEngine> => {
  const quiche = loadQuiche();
  checkTrace(trace);
  const context: ConfigContext = { quiche, keyLog: keyLogOf(trace), configs: new WeakMap() };
  /** How to dial from the socket of each listener. */
  const dialsFrom = new WeakMap<QuicListener, QuicEngine['dial']>();
  return {
    name: 'quiche',
    lacks: [],
    dialsFromListener: true,
    listen: async (options) => {
      const { listener, dial: dialFrom } = await listen(context, options);
      dialsFrom.set(listener, dialFrom);
      return listener;
    },
    dial: (remote, options) => {
      if (options.from === undefined) return dial(context, remote, options);
      const dialFrom = dialsFrom.get(options.from);
      if (dialFrom !== undefined) return dialFrom(remote, options);
      return Promise.reject(new LeanError('ERR_DIAL', "the listener is not this engine's"));
    },
  };
};
