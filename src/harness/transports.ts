/** The transport under test, made from the names that the harness uses. */

import { quic, tcp, websocket } from '../transports/factories.ts';
import type { TransportFactory } from '../transports/transport.ts';
import type { HarnessConfig } from './environment.ts';

export type Stack = Pick<HarnessConfig, 'transport' | 'secureChannel' | 'muxer' | 'quicEngine'> &
  Partial<Pick<HarnessConfig, 'quicTrace'>>;

/** The transport under test. */
export const transportUnderTest = ({
  transport,
  secureChannel,
  muxer,
  quicEngine,
  quicTrace = {},
}: Stack): TransportFactory => {
  if (transport === 'quic-v1' || secureChannel === undefined || muxer === undefined) {
    return quic({ engine: quicEngine, trace: quicTrace });
  }
  const { keyLog, maxKeyLogBytes } = quicTrace;
  const stack = { secureChannels: [secureChannel], muxers: [muxer], keyLog, maxKeyLogBytes };
  // The certificates of wss listeners in a test network are self-signed; the peer is authenticated by
  // the secure channel within.
  return transport === 'tcp' ? tcp(stack) : websocket({ ...stack, insecureWss: true });
};
