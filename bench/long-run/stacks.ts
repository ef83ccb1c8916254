/** The stacks of a long run: every engine and every stack that this Node.js has. */

import type { EngineName } from '../../src/quic/engine-name.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import type { TransportFactory } from '../../src/transports/transport.ts';

export interface Stack {
  readonly name: string;
  readonly transport: TransportFactory;
  /** Where its listener listens. */
  readonly address: string;
}

const QUIC = '/ip4/127.0.0.1/udp/0/quic-v1';
const TCP = '/ip4/127.0.0.1/tcp/0';

const overSockets = (secure: 'noise' | 'tls', muxer: 'yamux' | 'mplex') =>
  ({ secureChannels: [secure], muxers: [muxer] }) as const;

/** @param engines those to use, of which some may not be available here. */
export const stacksOf = async (engines: readonly EngineName[]): Promise<Stack[]> => {
  const stacks: Stack[] = [];
  for (const engine of engines) {
    const found = await selectEngine(engine, 'listener').catch(() => undefined);
    if (found === undefined) continue;
    stacks.push({ name: `quic-v1 (${engine})`, transport: quic({ engine }), address: QUIC });
  }
  for (const secure of ['noise', 'tls'] as const) {
    for (const muxer of ['yamux', 'mplex'] as const) {
      const transport = tcp(overSockets(secure, muxer));
      stacks.push({ name: `tcp/${secure}/${muxer}`, transport, address: TCP });
    }
  }
  const options = { ...overSockets('noise', 'yamux'), insecureWss: true };
  for (const [kind, address] of [
    ['ws', `${TCP}/ws`],
    ['wss', `${TCP}/tls/ws`],
  ] as const) {
    stacks.push({ name: `${kind}/noise/yamux`, transport: websocket(options), address });
  }
  return stacks;
};
