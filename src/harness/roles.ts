/** Runs a role of any test suite: within one time limit, and with everything closed at the end. */

import { startDeadline, untilAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { closeInTime } from './closing.ts';
import type { RedisAddress } from './environment.ts';
import type { Log } from './log.ts';
import { openRendezvous, type Rendezvous } from './rendezvous.ts';

export interface TestOptions {
  /** Ends the run early; its reason is a LeanError. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Takes the report of a role that has one; resolves when it has left the process. */
  readonly print: (report: string) => Promise<void>;
}

/** What a role works with. */
export interface Run {
  /** Fires at the time limit, and when the run is told to end; its reason is a LeanError. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly print: TestOptions['print'];
  /**
   * Starts to connect to Redis. The connection is closed when the run ends, if not before.
   *
   * @param signal aborts what waits for Redis, in place of the run's signal.
   */
  rendezvous(key: string, signal?: AbortSignal): Rendezvous;
  /** Returns `starting`, and calls `close` with its value when the run ends. */
  closeAtEnd<T>(starting: Promise<T>, close: (started: T) => unknown): Promise<T>;
}

interface RoleConfig {
  readonly role: string;
  readonly redis: RedisAddress;
  /** Bound of the whole run, ms. */
  readonly timeout: number;
}

/** Whether a role reports a result and ends; the other roles serve it until they are told to end. */
export const reportsResult = (role: string): boolean => role === 'dialer' || role === 'querier';

/**
 * Runs `work`; a role that serves then waits for the signal. Everything that was opened through the {@link Run} is
 * closed when the returned promise settles.
 *
 * @throws ERR_TIMEOUT after `timeout`, for every role; ERR_ABORTED when `options.signal` ended a role that reports;
 * what `work` throws.
 */
export const runRole = async (
  { role, redis, timeout }: RoleConfig,
  options: TestOptions,
  work: (run: Run) => Promise<void>,
): Promise<void> => {
  const { log, print } = options;
  const deadline = startDeadline(timeout, 'the test', options.signal);
  const { signal } = deadline;
  const connections: Rendezvous[] = [];
  const closings: (() => Promise<void>)[] = [];
  const run: Run = {
    signal,
    log,
    print,
    rendezvous: (key, until = signal) => {
      const opened = openRendezvous({ redis, key, signal: until, log });
      connections.push(opened);
      return opened;
    },
    closeAtEnd: (starting, close) => {
      starting.catch(() => undefined);
      closings.push(() =>
        starting.then(
          (started) => closeInTime('the node', () => close(started), log),
          () => undefined,
        ),
      );
      return starting;
    },
  };
  try {
    await work(run);
    if (!reportsResult(role)) await untilAborted(signal);
  } catch (error) {
    // A role that serves ends normally when it is told to end.
    if (reportsResult(role) || !options.signal.aborted) throw error;
    log('ended', { reason: messageOf(options.signal.reason) });
  } finally {
    deadline.abort(new LeanError('ERR_ABORTED', 'the test is over'));
    deadline.clear();
    for (const connection of connections) connection.close();
    await Promise.all(closings.map((close) => close()));
  }
};
