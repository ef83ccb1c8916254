/**
 * Dialling a peer at several addresses: a race for the first connection that completes its upgrade,
 * with a head start for QUIC (RFC 8305, "Happy Eyeballs", with transports in place of IP versions).
 *
 * All QUIC addresses are dialled at once. The others follow when `headStart` is over, or as soon as every
 * QUIC dial has failed. The first connection wins; the other dials are aborted, and one that still
 * completes is closed.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { TransportConnection } from '../connection.ts';
import { LeanError, messageOf } from '../errors.ts';
import { kindOf } from '../multiaddr.ts';

/** How long QUIC dials run alone; milliseconds, the Connection Attempt Delay of RFC 8305 section 5. */
const HEAD_START = 250;

export interface RaceOptions {
  /** Dials one address. Must settle soon after `signal` aborts. */
  readonly dialOne: (address: Multiaddr, signal: AbortSignal) => Promise<TransportConnection>;
  /** Ends the race; `race` then throws its reason. */
  readonly signal: AbortSignal;
  /** Milliseconds; default 250. */
  readonly headStart?: number;
}

/**
 * Dials all `addresses`, of which there is at least one, and returns the first connection.
 *
 * @throws {@link failureOf} all dials; the signal's reason.
 */
export const race = (
  addresses: readonly Multiaddr[],
  { dialOne, signal, headStart = HEAD_START }: RaceOptions,
): Promise<TransportConnection> =>
  new Promise((resolve, reject) => {
    const others = new AbortController();
    const failures: Failure[] = [];
    let waiting = addresses.filter((it) => kindOf(it) !== 'quic-v1');
    let running = 0;
    let over = false;

    /** @param reason aborts the dials that are still under way; `undefined` if there are none. */
    const end = (reason?: Error): void => {
      over = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      if (reason !== undefined) others.abort(reason);
    };
    const start = (address: Multiaddr): void => {
      running++;
      dialOne(address, others.signal).then(
        (connection) => {
          if (over) {
            connection.close(0, 'another connection was faster').catch(() => {});
            return;
          }
          const alone = running === 1;
          end(alone ? undefined : new LeanError('ERR_ABORTED', 'another connection was faster'));
          resolve(connection);
        },
        (error) => {
          running--;
          if (over) return;
          failures.push({ address, error });
          if (running > 0) return;
          if (waiting.length > 0) startWaiting();
          else {
            const error = failureOf(failures);
            end();
            reject(error);
          }
        },
      );
    };
    const startWaiting = (): void => {
      clearTimeout(timer);
      const now = waiting;
      waiting = [];
      for (const address of now) start(address);
    };
    const onAbort = (): void => {
      end(signal.reason);
      reject(signal.reason);
    };

    const timer = setTimeout(startWaiting, headStart);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) return onAbort();
    const first = addresses.filter((it) => kindOf(it) === 'quic-v1');
    for (const address of first) start(address);
    if (first.length === 0) startWaiting();
  });

export interface Failure {
  readonly address: Multiaddr;
  readonly error: unknown;
}

/**
 * One error for `failures`, of which there is at least one. A single failure's error is returned as it is; for several
 * the message has the reason of each, and the code is the one that all share, else ERR_DIAL.
 */
export const failureOf = (failures: readonly Failure[]): Error => {
  const [first] = failures;
  const errors = failures.map(({ error }) => error);
  if (first !== undefined && failures.length === 1 && first.error instanceof Error) {
    return first.error;
  }
  const codes = new Set(
    errors.map((error) => (error instanceof LeanError ? error.code : 'ERR_DIAL')),
  );
  const [code = 'ERR_DIAL'] = codes;
  const list = failures.map(({ address, error }) => `${address}: ${messageOf(error)}`).join('; ');
  return new LeanError(codes.size === 1 ? code : 'ERR_DIAL', `every address failed: ${list}`, {
    cause: new AggregateError(errors),
  });
};
