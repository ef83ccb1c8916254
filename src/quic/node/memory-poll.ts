/**
 * Keeps the memory account of a `node:quic` connection up to date. node:quic reports received bytes only to
 * waiting readers, and acknowledgements hardly at all, but it counts both. So while a connection has
 * streams with unread or unacknowledged bytes, the counters are polled.
 *
 * node:quic connections have no receive window of their own (engine.ts says why), only their streams
 * have. So if many streams were read fast and then all stop being read, they can exceed the connection's
 * limit. Those that hold most are reset before that.
 */

import { type ConnectionMemory, STREAM_RESOURCE_LIMIT_EXCEEDED } from '../../connection-memory.ts';

/** What a stream costs beside its bytes: node:quic's receive buffer, and the handler that serves it. */
export const STREAM_BYTES = 64 << 10;

/** A stream of the connection. */
export interface PolledStream {
  /** Bytes received and not read, and bytes not acknowledged, as of the last `recount()`. */
  readonly heldBytes: number;
  /** Brings the account up to date. False: there is nothing to look at until it asks again. */
  recount(): boolean;
  reset(code: number): void;
}

/** Polling interval, and the one when more than {@link MUCH} is held; milliseconds. */
const INTERVAL = 20;
const SHORT_INTERVAL = 4;
/** Shares of the limit: above which to poll often, to reset streams, and down to which to reset them. */
const MUCH = 0.5;
const TOO_MUCH = 0.75;
const ENOUGH = 0.625;

export class MemoryPoll {
  readonly #memory: ConnectionMemory;
  readonly #streams = new Set<PolledStream>();
  #timer: NodeJS.Timeout | undefined;

  constructor(memory: ConnectionMemory) {
    this.#memory = memory;
  }

  /** `stream` has something unread or unacknowledged. */
  watch(stream: PolledStream): void {
    this.#streams.add(stream);
    this.#timer ??= setTimeout(this.#look, INTERVAL).unref();
  }

  /** It is closed. */
  forget(stream: PolledStream): void {
    this.#streams.delete(stream);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    for (const stream of this.#streams) if (!stream.recount()) this.#streams.delete(stream);
    const memory = this.#memory;
    if (memory.held > memory.limit * TOO_MUCH) this.#makeRoom();
    if (this.#streams.size === 0) return;
    const interval = memory.held > memory.limit * MUCH ? SHORT_INTERVAL : INTERVAL;
    this.#timer ??= setTimeout(this.#look, interval).unref();
  };

  #makeRoom(): void {
    const streams = [...this.#streams].sort((a, b) => b.heldBytes - a.heldBytes);
    for (const stream of streams) {
      if (this.#memory.held <= this.#memory.limit * ENOUGH || stream.heldBytes === 0) return;
      stream.reset(STREAM_RESOURCE_LIMIT_EXCEEDED);
    }
  }
}
