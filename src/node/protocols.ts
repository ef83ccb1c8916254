/** The protocols that a node answers, and the streams that peers open for them. */

import type { Connection, TransportConnection } from '../connection.ts';
import { withDeadline } from '../deadline.ts';
import { errorOf } from '../errors.ts';
import { negotiate } from '../multistream.ts';
import type { Stream } from '../stream.ts';
import type { Events } from './events.ts';

/**
 * Serves one stream that a peer opened. When it resolves, our side of the stream is closed and what
 * the peer still sends is thrown away; when it rejects, the stream is reset (event `stream:error`).
 *
 * @param protocol the one agreed on, of those that it handles.
 */
export type StreamHandler = (
  stream: Stream,
  connection: Connection,
  protocol: string,
) => Promise<void>;

/** Milliseconds that a peer has to agree on a protocol for a stream it opened; go's, rust's value. */
const NEGOTIATION_TIMEOUT = 10_000;
/** Streams of one connection that may be without a protocol; more wait in the transport. */
const MAX_NEGOTIATIONS = 32;
/** What a peer may still send once a handler is done, in bytes and milliseconds. */
const MAX_LEFTOVER = 64 * 1024;
const LEFTOVER_TIMEOUT = 10_000;

export interface Protocols {
  /** Answers `protocol` from now on. Replaces the handler it had. */
  handle(protocol: string, handler: StreamHandler): void;
  /** Refuses it from now on. */
  unhandle(protocol: string): void;
  /** What is answered. */
  names(): string[];
  /** Serves the streams that a peer opens. Resolves when the connection has ended. */
  serve(transport: TransportConnection, connection: Connection): Promise<void>;
}

export const createProtocols = (events: Events): Protocols => {
  const handlers = new Map<string, StreamHandler>();

  /** Resolves when the stream has a protocol, or none; its handler then runs on. Never rejects. */
  const serveStream = async (stream: Stream, connection: Connection): Promise<void> => {
    try {
      const what = 'agreeing on a protocol';
      const agreed = negotiate(stream, handlers.keys());
      const protocol = await withDeadline(agreed, NEGOTIATION_TIMEOUT, what, () => stream.reset());
      if (events.has('stream:open')) {
        events.emit('stream:open', { connection, streamId: stream.id, protocol });
      }
      run(stream, connection, protocol);
    } catch (error) {
      if (!events.has('stream:refuse')) return;
      events.emit('stream:refuse', { connection, streamId: stream.id, error: errorOf(error) });
    }
  };

  const run = async (stream: Stream, connection: Connection, protocol: string): Promise<void> => {
    try {
      await handlers.get(protocol)?.(stream, connection, protocol);
      await endStream(stream);
    } catch (error) {
      stream.reset();
      const detail = { connection, streamId: stream.id, protocol, error: errorOf(error) };
      events.emit('stream:error', detail);
    }
  };

  return {
    handle: (protocol, handler) => {
      handlers.set(protocol, handler);
    },
    unhandle: (protocol) => {
      handlers.delete(protocol);
    },
    names: () => [...handlers.keys()],
    serve: async (transport, connection) => {
      const negotiations = new Set<Promise<void>>();
      for (;;) {
        const stream = await transport.acceptStream();
        if (stream === null) return;
        const negotiation = serveStream(stream, connection).finally(() =>
          negotiations.delete(negotiation),
        );
        negotiations.add(negotiation);
        if (negotiations.size >= MAX_NEGOTIATIONS) await Promise.race(negotiations);
      }
    },
  };
};

/** Closes our side, and reads what is left so that the peer's side can end in peace. */
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
  // A peer that resets now, or never ends, has had its answer.
  await withDeadline(discard(), LEFTOVER_TIMEOUT, 'the end of the stream', stop).catch(() => {});
};
