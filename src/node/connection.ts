/** Connections as a node's user sees them: they cannot accept streams. */

import type {
  Connection,
  NewStreamOptions,
  ProtocolStream,
  TransportConnection,
} from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import { select, selectLazily } from '../multistream.ts';
import type { Stream } from '../stream.ts';
import type { Metrics } from './metrics.ts';

/** Milliseconds that a peer has to allow one more stream. */
const OPEN_TIMEOUT = 30_000;
/** Milliseconds that a peer has to agree to one of several protocols; go-libp2p's value. */
const NEGOTIATION_TIMEOUT = 10_000;

/** @param onClosing called when our side closes it, before the peer is told. */
export const nodeConnection = (
  transport: TransportConnection,
  onClosing: () => void,
  metrics?: Metrics,
): Connection => {
  const close: Connection['close'] = (code, reason) => {
    onClosing();
    return transport.close(code, reason);
  };
  const connection: Connection = {
    role: transport.role,
    localPeer: transport.localPeer,
    remotePeer: transport.remotePeer,
    get localAddress() {
      return transport.localAddress;
    },
    get remoteAddress() {
      return transport.remoteAddress;
    },
    description: transport.description,
    circuit: transport.circuit,
    handshakeTime: transport.handshakeTime,
    memory: transport.memory,
    closed: transport.closed,
    ...(transport.stats && { stats: () => transport.stats?.() }),
    close,
    [Symbol.asyncDispose]: () => close(),
    newStream: (protocols, options) => {
      const opening = newStream(transport, protocols, options);
      return metrics === undefined
        ? opening
        : opening.then((stream) => metrics.outbound(connection, stream));
    },
  };
  return connection;
};

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
  const opening = transport.openStream(signal);
  // A stream that opens after the time limit is not needed any more.
  const tooLate = () => void opening.then((late) => late.reset()).catch(() => {});
  const stream = await withDeadline(opening, timeout, 'opening a stream', tooLate);
  const reset = () => stream.reset();
  try {
    if (list.length === 1) return selectLazily(stream, first);
    const what = 'agreeing on a protocol';
    const selected = select(stream, list);
    const protocol = await withDeadline(selected, NEGOTIATION_TIMEOUT, what, reset, signal);
    return withProtocol(stream, protocol);
  } catch (error) {
    reset();
    throw error;
  }
};
