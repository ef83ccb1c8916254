/**
 * Streams that we may have open at once, by what the peer granted at the start (RFC 9000 section 4.6). A peer
 * grants another one when one has ended, so an open one more would only wait inside `node:quic`. It must not:
 * Node 24.21 dies with SIGSEGV when it ends while a stream that never opened is in memory.
 */

import { abortedBy } from '../../deadline.ts';

export class StreamSlots {
  #free: number;
  readonly #waiting: PromiseWithResolvers<void>[] = [];

  /** @param limit as in the peer's transport parameters. One stream is always tried. */
  constructor(limit: number) {
    this.#free = Math.max(1, limit);
  }

  /**
   * Takes a slot, in the order of the calls: at once (`undefined`), or when there is one.
   *
   * @throws ERR_ABORTED; what `end()` was given.
   */
  take(signal?: AbortSignal): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    const slot = Promise.withResolvers<void>();
    this.#waiting.push(slot);
    if (signal === undefined) return slot.promise;
    const onAbort = (): void => {
      const index = this.#waiting.indexOf(slot);
      if (index < 0) return;
      this.#waiting.splice(index, 1);
      slot.reject(abortedBy(signal, 'opening a stream'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    return slot.promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  /** Gives one back. */
  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next.resolve();
  }

  /** The connection is over: nobody gets one any more. */
  end(error: Error): void {
    for (const slot of this.#waiting.splice(0)) slot.reject(error);
  }
}
