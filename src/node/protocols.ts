/** The protocols that a node handles, and the streams that peers open for them. */

import type { Connection, TransportConnection } from '../connection.ts';
import { STREAM_RESOURCE_LIMIT_EXCEEDED } from '../connection-memory.ts';
import { withDeadline } from '../deadline.ts';
import { errorOf, isLeanError, LeanError } from '../errors.ts';
import { negotiate } from '../multistream.ts';
import type { Stream } from '../stream.ts';
import type { Events } from './events.ts';

/**
 * Serves one stream that a peer opened. When it resolves, our side of the stream is closed and what
 * the peer still sends is discarded; when it rejects, the stream is reset (event `stream:error`).
 *
 * @param protocol the one agreed on.
 */
export type StreamHandler = (
  stream: Stream,
  connection: Connection,
  protocol: string,
) => Promise<void>;

export interface HandleOptions {
  /**
   * Streams of this protocol that a peer may have open at once on one connection; default: limited by `maxStreams`
   * only. Further ones are reset (event `stream:refuse`).
   */
  readonly maxInboundStreams?: number;
  /**
   * Whether the protocol is also served on relayed connections whose relay sets limits; default: true. If not, it is
   * refused there like a protocol without a handler.
   */
  readonly runOnLimitedConnection?: boolean;
}

/** How long negotiating the protocol of a stream may take; milliseconds, go-libp2p's and rust-libp2p's value. */
const NEGOTIATION_TIMEOUT = 10_000;
/** The most streams of one connection that negotiate at the same time; further ones wait in the transport. */
const MAX_NEGOTIATIONS = 32;
/** How much a peer may still send after the handler has finished; bytes. */
const MAX_LEFTOVER = 64 * 1024;
/** For how long it may do so; milliseconds. */
const LEFTOVER_TIMEOUT = 10_000;

export interface Protocols {
  /** Answers `protocol` from now on. Replaces the handler it had, and its options. @throws ERR_OPTIONS. */
  handle(protocol: string, handler: StreamHandler, options?: HandleOptions): void;
  /** Refuses it from now on. */
  unhandle(protocol: string): void;
  /** The protocols that have a handler. */
  names(): string[];
  /** Serves the streams that a peer opens. Resolves when the connection has ended. */
  serve(transport: TransportConnection, connection: Connection): Promise<void>;
}

interface Entry {
  readonly handler: StreamHandler;
  readonly options: HandleOptions;
  /** Open streams by connection; counted only if there is a limit. */
  readonly open: WeakMap<Connection, number>;
}

export const createProtocols = (
  events: Events,
  /** Wraps a stream so that its bytes are counted. */
  counted: (connection: Connection, stream: Stream) => Stream = (_, stream) => stream,
): Protocols => {
  const entries = new Map<string, Entry>();

  /** The protocols that a peer may use on `connection`. */
  const offered = function* ({ circuit }: Connection): Generator<string> {
    const limited = circuit?.limit !== undefined;
    for (const [protocol, { options }] of entries) {
      if (!limited || (options.runOnLimitedConnection ?? true)) yield protocol;
    }
  };

  /** Counts one more stream. @throws ERR_STREAM_LIMIT when `maxInboundStreams` are open. */
  const count = (entry: Entry, protocol: string, connection: Connection): void => {
    const { maxInboundStreams: most } = entry.options;
    if (most === undefined) return;
    const open = entry.open.get(connection) ?? 0;
    if (open >= most) {
      const why = `more than ${most} streams of ${protocol} on one connection`;
      throw new LeanError('ERR_STREAM_LIMIT', why);
    }
    entry.open.set(connection, open + 1);
  };

  const uncount = ({ open }: Entry, connection: Connection): void => {
    const now = open.get(connection);
    if (now !== undefined) open.set(connection, now - 1);
  };

  /** Resolves when negotiation has succeeded, with the handler running, or failed. Never rejects. */
  const serveStream = async (stream: Stream, connection: Connection): Promise<void> => {
    try {
      const what = 'agreeing on a protocol';
      const agreed = negotiate(stream, offered(connection));
      const protocol = await withDeadline(agreed, NEGOTIATION_TIMEOUT, what, () => stream.reset());
      const entry = entries.get(protocol);
      // The handler was removed meanwhile.
      if (entry === undefined) throw new LeanError('ERR_PROTOCOL_NOT_SUPPORTED', protocol);
      count(entry, protocol, connection);
      if (events.has('stream:open')) {
        events.emit('stream:open', { connection, streamId: stream.id, protocol });
      }
      run(entry, stream, connection, protocol).finally(() => uncount(entry, connection));
    } catch (error) {
      if (isLeanError(error, 'ERR_STREAM_LIMIT')) stream.reset(STREAM_RESOURCE_LIMIT_EXCEEDED);
      if (!events.has('stream:refuse')) return;
      events.emit('stream:refuse', { connection, streamId: stream.id, error: errorOf(error) });
    }
  };

  /** Never rejects. */
  const run = async (
    { handler }: Entry,
    stream: Stream,
    connection: Connection,
    protocol: string,
  ): Promise<void> => {
    try {
      await handler(counted(connection, stream), connection, protocol);
      await endStream(stream);
    } catch (error) {
      stream.reset();
      const detail = { connection, streamId: stream.id, protocol, error: errorOf(error) };
      events.emit('stream:error', detail);
    }
  };

  return {
    handle: (protocol, handler, options = {}) => {
      const { maxInboundStreams: most } = options;
      if (most !== undefined && !(Number.isInteger(most) && most > 0)) {
        const message = `maxInboundStreams must be a whole number above 0, not ${most}`;
        throw new LeanError('ERR_OPTIONS', message);
      }
      entries.set(protocol, { handler, options, open: new WeakMap() });
    },
    unhandle: (protocol) => {
      entries.delete(protocol);
    },
    names: () => [...entries.keys()],
    serve: async (transport, connection) => {
      let negotiating = 0;
      let goOn = (): void => {};
      for (;;) {
        const stream = await transport.acceptStream();
        if (stream === null) return;
        negotiating++;
        serveStream(stream, connection).finally(() => {
          negotiating--;
          goOn();
        });
        // Not Promise.race(): each call would leave a reaction on every promise that is still pending.
        if (negotiating >= MAX_NEGOTIATIONS) await new Promise<void>((done) => (goOn = done));
      }
    },
  };
};

/** Closes our side, and discards what the peer still sends until it has finished, within limits. */
const endStream = async (stream: Stream): Promise<void> => {
  stream.closeWrite();
  const stop = () => stream.stopSending();
  const discard = async (): Promise<void> => {
    for (let bytes = 0; bytes <= MAX_LEFTOVER; ) {
      const chunk = await stream.read();
      if (chunk === null) return;
      bytes += chunk.length;
    }
    stop();
  };
  // The handler is done: errors do not matter any more.
  await withDeadline(discard(), LEFTOVER_TIMEOUT, 'the end of the stream', stop).catch(() => {});
};
