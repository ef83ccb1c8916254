/** Finds stalled streams: those whose writer waits while the peer takes no bytes. */

import { LeanError } from '../errors.ts';

/** A stream while its writer waits in `drain()`. */
export interface WaitingWriter {
  /** Bytes sent so far. */
  readonly sentBytes: number;
  /** Resets the stream and fails its writer with `error`. */
  onStalled(error: LeanError): void;
}

/** Number of checks in one timeout. */
const LOOKS = 4;

/** One per connection. Has a timer only while a writer waits. */
export class StallWatch {
  readonly #timeout: number;
  /** For each waiting writer its progress at the last check, and the checks since without any. */
  readonly #waiting = new Map<WaitingWriter, { sentBytes: number; looks: number }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param timeout milliseconds without a byte sent; a stall is found at most a quarter of it later. */
  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** `writer` waits from now on. Idempotent. */
  add(writer: WaitingWriter): void {
    if (this.#waiting.has(writer)) return;
    this.#waiting.set(writer, { sentBytes: writer.sentBytes, looks: 0 });
    this.#timer ??= setTimeout(this.#look, this.#timeout / LOOKS).unref();
  }

  /** `writer` no longer waits. */
  delete(writer: WaitingWriter): void {
    this.#waiting.delete(writer);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    for (const [writer, seen] of this.#waiting) {
      const { sentBytes } = writer;
      if (sentBytes !== seen.sentBytes) {
        seen.sentBytes = sentBytes;
        seen.looks = 0;
      } else if (++seen.looks > LOOKS) {
        this.#waiting.delete(writer);
        writer.onStalled(
          new LeanError(
            'ERR_TIMEOUT',
            `the peer took no data of the stream for ${this.#timeout} ms`,
          ),
        );
      }
    }
    if (this.#waiting.size > 0) {
      this.#timer ??= setTimeout(this.#look, this.#timeout / LOOKS).unref();
    }
  };
}
