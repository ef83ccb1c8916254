/**
 * Listener and dialer meet in Redis: one publishes its multiaddr under the test's key, the other
 * fetches it. Either may come up before Redis does, and Redis may go away in between: everything is
 * tried again until the run's deadline.
 *
 * Publish: `DEL`, `RPUSH`. Fetch: `BLPOP`, and `GET` for the peers that `SET`. (Behind the proxy
 * that unified-testing puts before legacy peers only DEL, RPUSH and BLPOP have their key rewritten,
 * and only RESP 2 passes; so `TYPE` there always answers `none`, and BLPOP decides.)
 */

import { setTimeout as delay } from 'node:timers/promises';
import { orAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import type { RedisAddress } from './environment.ts';
import { HarnessError } from './errors.ts';
import type { Log } from './log.ts';

export interface RendezvousOptions {
  readonly redis: RedisAddress;
  readonly key: string;
  /** Ends everything that waits. Its reason is a LeanError that says why: `timed out after 180 s`. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

export interface Rendezvous {
  /**
   * Publishes `multiaddr` in place of whatever the key held. Idempotent.
   *
   * @param as a list, which the transport suites' dialers pop, or a string, which the perf suite's get.
   * @throws ERR_REDIS when Redis answers with an error; the code of the signal's reason, ERR_TIMEOUT or ERR_ABORTED,
   * when it aborts. The message says what was waited for.
   */
  publish(multiaddr: string, as?: 'list' | 'string'): Promise<void>;

  /** Waits for the key and resolves with what it holds, trimmed. @throws as `publish()`. */
  fetch(): Promise<string>;

  /** Closes the connection; whatever waits throws ERR_ABORTED. Idempotent; never throws. */
  close(): void;
}

/** How long one BLPOP blocks, seconds; after it, a key that was `SET` is noticed. */
const BLOCK_SECONDS = '0.25';
/** The first pause between two attempts to reach Redis; milliseconds. Short, as every test waits for Redis. */
const RETRY_MIN = 20;
/** The longest such pause; milliseconds. */
const RETRY_MAX = 250;
/** A connection that is silent for this long is dead, as BLPOP answers each round; milliseconds. */
const SILENCE = 5_000;
/** A multiaddr is a few hundred bytes at the most. */
const MAX_VALUE_LENGTH = 4_096;

/** Errors of a Redis that is not ready yet. */
const TRANSIENT = /^(LOADING|BUSY|TRYAGAIN|MASTERDOWN|CLUSTERDOWN)\b/;

/** Starts to connect at once; failures are reported by `publish()` and `fetch()`. */
export const openRendezvous = ({ redis, key, signal, log }: RendezvousOptions): Rendezvous => {
  const where = `Redis at ${redis.host.includes(':') ? `[${redis.host}]` : redis.host}:${redis.port}`;
  let trouble: string | undefined = 'not connected yet';
  let logged: string | undefined;
  let closed = false;

  const connecting = import('redis').then(({ createClient }) => {
    const client = createClient({
      RESP: 2,
      disableClientInfo: true,
      socket: {
        host: redis.host,
        port: redis.port,
        connectTimeout: SILENCE,
        socketTimeout: SILENCE,
        reconnectStrategy: (retries) => Math.min(RETRY_MIN * 2 ** Math.min(retries, 8), RETRY_MAX),
      },
    });
    client.on('error', (error: unknown) => {
      trouble = reasonOf(error);
      if (trouble !== logged) log(`${where} cannot be used yet`, { reason: trouble });
      logged = trouble;
    });
    client.on('ready', () => {
      trouble = undefined;
      logged = undefined;
      log(`connected to ${where}`);
    });
    // Retries until it works; rejects only when closed.
    client.connect().catch(() => undefined);
    return client;
  });
  connecting.catch(() => undefined);

  const interrupted = (): LeanError => {
    const reason = signal.reason instanceof LeanError ? signal.reason : undefined;
    const waited = trouble === undefined ? `${key} in ${where}` : `${where} (${trouble})`;
    const why = `${reason?.message ?? 'interrupted'}, waiting for ${waited}`;
    return new LeanError(reason?.code ?? 'ERR_ABORTED', why);
  };

  /** Sends the commands together, and all of them again while the connection is down. */
  const send = async (...commands: string[][]): Promise<unknown[]> => {
    const { ErrorReply } = await import('redis');
    for (;;) {
      if (closed || signal.aborted) throw interrupted();
      try {
        const client = await connecting;
        const replies = Promise.all(commands.map((command) => client.sendCommand(command)));
        return await orAborted(replies, signal);
      } catch (error) {
        if (closed || signal.aborted) throw interrupted();
        if (error instanceof ErrorReply && !TRANSIENT.test(error.message)) throw error;
        trouble = reasonOf(error);
        await delay(RETRY_MAX, undefined, { signal }).catch(() => undefined);
      }
    }
  };

  const refused = (error: unknown): LeanError | HarnessError =>
    error instanceof LeanError || error instanceof HarnessError
      ? error
      : new HarnessError('ERR_REDIS', `${where} refused: ${firstSentence(messageOf(error))}`, {
          cause: error,
        });

  const check = (value: unknown): string => {
    const text = typeof value === 'string' ? value.trim() : '';
    if (text === '' || text.length > MAX_VALUE_LENGTH) {
      const what = text === '' ? 'nothing' : `${text.length} characters`;
      throw new HarnessError('ERR_REDIS', `${key} in ${where} holds ${what}, not a multiaddr`);
    }
    return text;
  };

  return {
    publish: async (multiaddr, as = 'list') => {
      try {
        await send(['DEL', key], [as === 'list' ? 'RPUSH' : 'SET', key, multiaddr]);
      } catch (error) {
        throw refused(error);
      }
    },

    fetch: async () => {
      try {
        for (;;) {
          const [type] = await send(['TYPE', key]);
          if (type === 'string') {
            const [value] = await send(['GET', key]);
            if (value !== null) return check(value);
          } else if (type === 'list' || type === 'none') {
            const popped = await send(['BLPOP', key, BLOCK_SECONDS]).catch((error: unknown) => {
              // It was SET after its type was asked for.
              if (error instanceof Error && error.message.startsWith('WRONGTYPE')) return [];
              throw error;
            });
            if (Array.isArray(popped[0])) return check(popped[0][1]);
          } else {
            const what = `a ${String(type)}; a list or a string was expected`;
            throw new HarnessError('ERR_REDIS', `${key} in ${where} holds ${what}`);
          }
        }
      } catch (error) {
        throw refused(error);
      }
    },

    close: () => {
      closed = true;
      connecting.then((client) => client.destroy()).catch(() => undefined);
    },
  };
};

/** Redis explains its protected mode at length. */
const firstSentence = (text: string): string => text.replace(/\. .*/, '.');

const reasonOf = (error: unknown): string => {
  const message = messageOf(error);
  // A name with several addresses fails with an AggregateError, whose message is empty.
  if (message !== '') return message;
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown error';
};
