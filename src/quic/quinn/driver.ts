/**
 * The event loop's side of quinn, one for each JavaScript thread: starts the network thread, dispatches
 * its events, and keeps the process alive while something is open.
 */

import { warnOfFullTraces } from '../trace.ts';
import {
  CLOSE_SENT,
  CLOSED,
  CONNECTED,
  FAILED,
  LISTENER_CLOSED,
  loadQuinn,
  PENDING_ROSE,
  type QuinnBinding,
  READABLE,
  STREAMS_ALLOWED,
  STREAMS_OPENED,
  TRACES_FULL,
  WRITABLE,
} from './binding.ts';

/** Events of a dial or, with the connection's number, of the handshakes of a listener. */
export interface HandshakeEvents {
  connected(connection: number): void;
  failed(connection: number): void;
}

export interface ListenerEvents extends HandshakeEvents {
  closed(): void;
  /** There are more pending handshakes than the number set by `tellAbove()`. */
  pendingRose(): void;
}

export interface ConnectionEvents {
  streamsOpened(): void;
  streamsAllowed(): void;
  /** It has ended, whoever ended it. */
  over(): void;
  /** The close that we asked for has been sent. */
  closeSent(): void;
  /** A call of the binding panicked: the connection must not be used any more. */
  broken(error: unknown): void;
}

export interface StreamEvents {
  readable(): void;
  writable(): void;
  /** The end of the turn in which it called `flushLater()`. */
  flush(): void;
  broken(error: unknown): void;
}

export interface Driver {
  readonly native: QuinnBinding;
  /** The engine's number in the binding, the first argument of every call. */
  readonly engine: number;
  /** By number. */
  readonly dials: Map<number, HandshakeEvents>;
  readonly listeners: Map<number, ListenerEvents>;
  readonly connections: Map<number, ConnectionEvents>;
  readonly streams: (StreamEvents | undefined)[];
  /** Calls `stream.flush()` when this turn's code has run: what it writes leaves together. */
  flushLater(stream: StreamEvents): void;
  /** Keeps the process alive until `letGo()` was called as often. */
  hold(): void;
  letGo(): void;
}

/** Events per call of `drain()`. */
const BATCH = 256;
const WORDS = 3;

let driver: Driver | undefined;

/** @throws ERR_ENGINE_UNAVAILABLE when there is no binary of quinn for this platform. */
export const quinnDriver = (): Driver => {
  driver ??= start(loadQuinn());
  return driver;
};

const start = (native: QuinnBinding): Driver => {
  const dials: Driver['dials'] = new Map();
  const listeners: Driver['listeners'] = new Map();
  const connections: Driver['connections'] = new Map();
  const streams: Driver['streams'] = [];
  const events = new Uint32Array(BATCH * WORDS);
  const bytes = new Uint8Array(events.buffer);

  const wake = (): void => {
    for (let count = native.drain(engine, bytes); count > 0; count = native.drain(engine, bytes)) {
      for (let at = 0; at < count * WORDS; at += WORDS) {
        dispatch(events[at] as number, events[at + 1] as number, events[at + 2] as number);
      }
    }
  };
  const dispatch = (kind: number, id: number, listener: number): void => {
    if (kind === READABLE || kind === WRITABLE) {
      const stream = streams[id];
      if (stream === undefined) return;
      try {
        if (kind === READABLE) stream.readable();
        else stream.writable();
      } catch (error) {
        stream.broken(error);
      }
    } else if (kind === CONNECTED || kind === FAILED) {
      const handshakes = listener === 0 ? dials.get(id) : listeners.get(listener);
      if (handshakes === undefined) native.abort(engine, id);
      else if (kind === CONNECTED) handshakes.connected(id);
      else handshakes.failed(id);
    } else if (kind === LISTENER_CLOSED) {
      listeners.get(id)?.closed();
    } else if (kind === PENDING_ROSE) {
      listeners.get(id)?.pendingRose();
    } else if (kind === TRACES_FULL) {
      warnOfFullTraces();
    } else {
      const connection = connections.get(id);
      if (connection === undefined) return;
      try {
        if (kind === STREAMS_OPENED) connection.streamsOpened();
        else if (kind === STREAMS_ALLOWED) connection.streamsAllowed();
        else if (kind === CLOSED) connection.over();
        else if (kind === CLOSE_SENT) connection.closeSent();
      } catch (error) {
        connection.broken(error);
      }
    }
  };

  let unflushed: StreamEvents[] = [];
  const flush = (): void => {
    const all = unflushed;
    unflushed = [];
    for (const stream of all) {
      try {
        stream.flush();
      } catch (error) {
        stream.broken(error);
      }
    }
  };
  // A tick queued from a microtask runs when the whole microtask queue is empty: when the readers
  // that were just woken have answered.
  const flushAfterMicrotasks = (): void => process.nextTick(flush);

  let held = 0;
  let keeper: NodeJS.Timeout | undefined;

  const engine = native.start(wake);
  return {
    native,
    engine,
    dials,
    listeners,
    connections,
    streams,
    flushLater(stream) {
      unflushed.push(stream);
      if (unflushed.length === 1) queueMicrotask(flushAfterMicrotasks);
    },
    hold() {
      if (held++ === 0) keeper = setInterval(() => {}, 0x7fff_ffff);
    },
    letGo() {
      if (--held === 0) clearInterval(keeper);
    },
  };
};
