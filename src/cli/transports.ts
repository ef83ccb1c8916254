/** The transports of the commands for people: all of them. */

import { quicTraceOf } from '../harness/quic-trace.ts';
import type { EngineChoice } from '../quic/engine-name.ts';
import { quic, tcp, websocket } from '../transports/factories.ts';
import type { TransportFactory } from '../transports/transport.ts';

export interface TransportFlags {
  readonly engine: EngineChoice;
  /** Dials `wss` listeners whatever their certificate. */
  readonly insecure?: boolean;
}

export const transportsOf = ({ engine, insecure = false }: TransportFlags): TransportFactory[] => {
  const trace = quicTraceOf(process.env);
  const { keyLog, maxKeyLogBytes } = trace;
  const secrets = { keyLog, maxKeyLogBytes };
  return [quic({ engine, trace }), tcp(secrets), websocket({ insecureWss: insecure, ...secrets })];
};
