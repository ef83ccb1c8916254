/**
 * The `node:quic` engine: Node 24.20 or 26 built with `--experimental-quic` and started with that
 * flag, or, as dialer only, Bun 1.4.
 *
 * `node:quic` has two limitations. A client always sends SNI: an empty name means `localhost`
 * to Node and is an error to Bun. libp2p servers must ignore it (libp2p/specs tls/tls.md), so the
 * name is `localhost`, which reveals nothing. And Bun's listener refuses every self-signed client.
 */

import { createSecureContext } from 'node:tls';
import { RUNTIME } from '../../runtime.ts';
import type { QuicEngine, QuicTrace } from '../engine.ts';
import type { QuicLimits } from '../limits.ts';
import { checkTrace } from '../trace.ts';
import { type DialSockets, dial } from './dialer.ts';
import { listen } from './listener.ts';
import { loadNodeQuic } from './load.ts';

/** Its connections have no window of their own, and it makes every client prove its address. */
const LACKS: readonly (keyof QuicLimits)[] = ['connectionWindow', 'retryAbove'];

/** @throws ERR_ENGINE_UNAVAILABLE with what is missing; ERR_OPTIONS when the trace cannot be written. */
export const nodeQuicEngine = async (trace: QuicTrace = {}): Promise<QuicEngine> => {
  const quic = await loadNodeQuic();
  checkTrace(trace);
  // OpenSSL's initialisation takes 10 ms, which would otherwise be part of the first handshake.
  createSecureContext();
  const sockets: DialSockets = new Map();
  return {
    name: 'node',
    // Node closes a socket, with all its connections, when a datagram cannot be sent: a dial from a
    // listener's, to an address that a peer made up, would end the listener.
    dialsFromListener: false,
    lacks: RUNTIME.quicCounts ? LACKS : [...LACKS, 'connectionMemory', 'stallTimeout'],
    listen: (options) => listen(quic, trace, options),
    dial: (remote, options) => dial(quic, trace, sockets, remote, options),
  };
};
