/** From the harness's names to the node's transports; only what the test needs is imported. */

import type { NodeOptions, TransportContext } from '../node/node.ts';
import type { Transport } from '../transports/transport.ts';
import type { UpgradeOptions } from '../transports/upgrade.ts';
import type { HarnessConfig } from './environment.ts';

type Stack = Pick<HarnessConfig, 'transport' | 'secureChannel' | 'muxer'>;

/**
 * The part of the node's options that a test decides. Making the node fails at once where the QUIC
 * engine is missing, before anybody waits for Redis.
 */
export const transportsFor = ({ transport, secureChannel, muxer }: Stack): NodeOptions => {
  if (transport === 'quic-v1' || secureChannel === undefined || muxer === undefined) {
    return { prepare: ['quic-v1'] };
  }
  return {
    transports: async (context: TransportContext): Promise<Transport[]> => {
      const upgrade: UpgradeOptions = {
        hostKey: context.hostKey,
        limits: context.limits,
        // Also what a wss listener shows.
        ...((secureChannel === 'tls' || transport === 'wss') && { tls: await context.tls() }),
        secure: [secureChannel],
        muxers: [muxer],
      };
      if (transport === 'tcp') {
        const { tcpTransport } = await import('../transports/tcp.ts');
        return [tcpTransport(upgrade)];
      }
      const { wsTransport } = await import('../transports/websocket.ts');
      // The certificates of wss listeners in a test network are self-signed; the peer is
      // authenticated by the secure channel within.
      return [wsTransport({ ...upgrade, insecureWss: true })];
    },
  };
};
