/** A connection as a node's user sees it: it cannot accept streams. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type {
  Connection,
  NewStreamOptions,
  ProtocolStream,
  TransportConnection,
} from '../connection.ts';
import type { ConnectionStats } from '../connection-stats.ts';
import { abortedBy, withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { select, selectLazily } from '../multistream.ts';
import type { Stream } from '../stream.ts';
import type { Metrics } from './metrics.ts';

/** How long to wait for the peer's stream limit; milliseconds. */
const OPEN_TIMEOUT = 30_000;
/** How long the peer may take to agree to one of several protocols; milliseconds, go-libp2p's value. */
const NEGOTIATION_TIMEOUT = 10_000;

/** @param onClosing called when our side closes the connection, before the peer is notified. */
export const nodeConnection = (
  transport: TransportConnection,
  onClosing: () => void,
  metrics?: Metrics,
): Connection => new NodeConnection(transport, onClosing, metrics);

/** A class: V8 turns an object literal with getters into a dictionary, which takes 1 KiB per connection and is slow. */
class NodeConnection implements Connection {
  readonly role: Connection['role'];
  readonly localPeer: Connection['localPeer'];
  readonly remotePeer: Connection['remotePeer'];
  readonly description: string;
  readonly circuit: Connection['circuit'];
  readonly handshakeTime: number | undefined;
  readonly memory: Connection['memory'];
  readonly closed: Connection['closed'];
  readonly #transport: TransportConnection;
  readonly #onClosing: () => void;
  readonly #metrics: Metrics | undefined;

  constructor(transport: TransportConnection, onClosing: () => void, metrics?: Metrics) {
    this.role = transport.role;
    this.localPeer = transport.localPeer;
    this.remotePeer = transport.remotePeer;
    this.description = transport.description;
    this.circuit = transport.circuit;
    this.handshakeTime = transport.handshakeTime;
    this.memory = transport.memory;
    this.closed = transport.closed;
    this.#transport = transport;
    this.#onClosing = onClosing;
    this.#metrics = metrics;
  }

  get localAddress(): Multiaddr {
    return this.#transport.localAddress;
  }

  get remoteAddress(): Multiaddr {
    return this.#transport.remoteAddress;
  }

  stats(): ConnectionStats | undefined {
    return this.#transport.stats?.();
  }

  close(code?: number, reason?: string): Promise<void> {
    this.#onClosing();
    return this.#transport.close(code, reason);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  newStream(
    protocols: string | readonly string[],
    options?: NewStreamOptions,
  ): Promise<ProtocolStream> {
    const opening = newStream(this.#transport, protocols, options);
    const metrics = this.#metrics;
    return metrics === undefined
      ? opening
      : opening.then((stream) => metrics.outbound(this, stream));
  }
}

/** A wrapper: adding a property to an engine's stream would change its hidden class, and slow its methods down. */
const withProtocol = (stream: Stream, protocol: string): ProtocolStream => ({
  id: stream.id,
  protocol,
  read: (into, signal) => stream.read(into, signal),
  unread: (chunk) => stream.unread(chunk),
  write: (chunk) => stream.write(chunk),
  drain: (signal) => stream.drain(signal),
  closeWrite: () => stream.closeWrite(),
  stopSending: (code) => stream.stopSending(code),
  reset: (code) => stream.reset(code),
  [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
});

const newStream = async (
  transport: TransportConnection,
  protocols: string | readonly string[],
  { signal, timeout = OPEN_TIMEOUT }: NewStreamOptions = {},
): Promise<ProtocolStream> => {
  const list = typeof protocols === 'string' ? [protocols] : protocols;
  const [first] = list;
  if (first === undefined) throw new LeanError('ERR_OPTIONS', 'there is no protocol to propose');
  const what = 'opening a stream';
  if (signal?.aborted === true) throw abortedBy(signal, what);
  const stop = new AbortController();
  const opening = transport.openStream(stop.signal);
  const tooLate = (): void => {
    // Otherwise the request would stay in the queue for the peer's stream limit, ahead of all later ones.
    stop.abort();
    // The stream may have been opened just then.
    opening.then((late) => late.reset()).catch(() => {});
  };
  const stream = await withDeadline(opening, timeout, what, tooLate, signal);
  const reset = () => stream.reset();
  try {
    if (list.length === 1) return selectLazily(stream, first);
    const selected = select(stream, list);
    const agreeing = 'agreeing on a protocol';
    const protocol = await withDeadline(selected, NEGOTIATION_TIMEOUT, agreeing, reset, signal);
    return withProtocol(stream, protocol);
  } catch (error) {
    reset();
    throw error;
  }
};
