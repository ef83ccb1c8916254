/** Time limits: every wait on a peer goes through one of these. */

import { LeanError } from './errors.ts';

/**
 * Settles as `work` does, or rejects with ERR_TIMEOUT after `ms` milliseconds.
 *
 * @param what names the work in the message: `<what> took longer than <ms> ms`.
 * @param expire called when the wait is given up; should make `work` end, for instance `() => stream.reset()`.
 * @param signal ends the wait as the time limit does, with the error of {@link aborted}.
 */
export const withDeadline = <T>(
  work: Promise<T>,
  ms: number,
  what: string,
  expire?: () => void,
  signal?: AbortSignal,
): Promise<T> =>
  new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    const giveUp = (error: LeanError): void => {
      settle();
      reject(error);
      expire?.();
    };
    const onAbort = (): void => giveUp(aborted(what, signal?.reason));
    const timer = setTimeout(() => giveUp(tookTooLong(what, ms)), ms);
    work.then(
      (value) => {
        settle();
        resolve(value);
      },
      (error) => {
        settle();
        reject(error);
      },
    );
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted === true) onAbort();
  });

export interface Deadline {
  /** Aborts with a LeanError as its reason: ERR_TIMEOUT, or ERR_ABORTED where the parent aborted. */
  readonly signal: AbortSignal;
  /** Ends the wait early with `reason`. */
  abort(reason: Error): void;
  /** Must be called when the work is done: frees the timer and the parent's listener. */
  clear(): void;
}

/** A signal that aborts after `ms` milliseconds, or when `parent` does. For work that takes an `AbortSignal`. */
export const startDeadline = (ms: number, what: string, parent?: AbortSignal): Deadline => {
  const controller = new AbortController();
  const onParent = () => controller.abort(aborted(what, parent?.reason));
  const timer = setTimeout(() => controller.abort(tookTooLong(what, ms)), ms);
  if (parent?.aborted === true) onParent();
  else parent?.addEventListener('abort', onParent, { once: true });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    clear: () => {
      clearTimeout(timer);
      parent?.removeEventListener('abort', onParent);
    },
  };
};

/**
 * Settles as `work` does, or rejects as soon as `signal` aborts, with the error of {@link aborted}. Leaves no
 * listener behind.
 */
export const orAborted = <T>(
  work: Promise<T>,
  signal: AbortSignal,
  what = 'the operation',
): Promise<T> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => reject(aborted(what, signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
  });

/** Rejects when `signal` aborts, as {@link orAborted} does. */
export const untilAborted = (signal: AbortSignal): Promise<never> =>
  orAborted(new Promise<never>(() => undefined), signal);

const tookTooLong = (what: string, ms: number): LeanError =>
  new LeanError('ERR_TIMEOUT', `${what} took longer than ${ms} ms`);

/** The error to throw when a signal has aborted: `reason` itself if that is a LeanError, else ERR_ABORTED. */
export const aborted = (what: string, reason: unknown): LeanError =>
  reason instanceof LeanError
    ? reason
    : new LeanError('ERR_ABORTED', `${what} was aborted`, { cause: reason });

/** The error to throw for a signal that has aborted. */
export const abortedBy = (signal: AbortSignal, what: string): LeanError =>
  aborted(what, signal.reason);

/** Resolves after `ms`, or when `signal` aborts. Never rejects. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end, { once: true });
    if (signal?.aborted === true) end();
  });
