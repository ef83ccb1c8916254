/** The Redis of a run, and what was published under which key. */

import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { messageOf } from '../../src/errors.ts';
import { startRedis } from '../redis-server.ts';
import { MatrixError } from './error.ts';

const MONITOR_TIMEOUT_MS = 10_000;

export interface Publication {
  readonly multiaddr: string;
  /** When it arrived, on the clock of `performance.now()`. */
  readonly at: number;
}

export interface WatchedRedis {
  /** `host:port`, as participants reach it. */
  readonly address: string;
  /** The first value that was put under `key` (SET, RPUSH or LPUSH). */
  published(key: string): Publication | undefined;
  /** Settles with a line that says why, when the server ends before `stop` was called. */
  readonly lost: Promise<string>;
  stop(): Promise<void>;
}

/** One on 127.0.0.1, where the runner can speak for a listener. */
export interface LocalRedis extends WatchedRedis {
  readonly port: number;
  /** Resolves with what is published under `key` as soon as it is there. */
  whenPublished(key: string): Promise<Publication>;
  /** Puts a multiaddr under a key, as a listener does. */
  publish(key: string, multiaddr: string): Promise<void>;
}

/** The words of a line of Redis MONITOR: `+1700000000.1 [0 127.0.0.1:5] "RPUSH" "key" "value"`. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word = '']) => word.replace(/\\(.)/g, '$1'));

/** Notes what is published, from the output of MONITOR. */
export const publicationsOf = (): {
  feed(chunk: string): void;
  published(key: string): Publication | undefined;
  whenPublished(key: string): Promise<Publication>;
} => {
  const published = new Map<string, Publication>();
  const awaited = new Map<string, (publication: Publication) => void>();
  let rest = '';
  return {
    feed: (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() ?? '').slice(0, 64 * 1024);
      for (const line of lines) {
        const [command = '', key, multiaddr] = wordsOf(line);
        if (key === undefined || multiaddr === undefined) continue;
        if (!/^(set|rpush|lpush)$/i.test(command) || published.has(key)) continue;
        const publication = { multiaddr: multiaddr.slice(0, 1024), at: performance.now() };
        published.set(key, publication);
        awaited.get(key)?.(publication);
        awaited.delete(key);
      }
    },
    published: (key) => published.get(key),
    whenPublished: (key) => {
      const there = published.get(key);
      if (there !== undefined) return Promise.resolve(there);
      return new Promise((resolve) => awaited.set(key, resolve));
    },
  };
};

/**
 * Starts a redis-server and watches what is published in it.
 *
 * @param log the file for its output
 * @throws MatrixError when redis-server is missing or does not come up
 */
export const startWatchedRedis = async (log: string): Promise<LocalRedis> => {
  await mkdir(dirname(log), { recursive: true });
  // Detached: the runner handles Ctrl-C, and Redis must not end before the cells have.
  const redis = await startRedis({ log, detached: true }).catch((error: unknown) => {
    throw new MatrixError(messageOf(error));
  });
  const { feed, published, whenPublished } = publicationsOf();
  const monitor = connect(redis.port, '127.0.0.1');
  // Nothing to do: a Redis that is gone is `lost`.
  monitor.on('error', () => {});
  monitor.setEncoding('utf8').on('data', feed);
  monitor.write('MONITOR\r\n');
  // What is published before MONITOR has begun would be missed.
  await once(monitor, 'data', { signal: AbortSignal.timeout(MONITOR_TIMEOUT_MS) });
  return {
    address: redis.address,
    port: redis.port,
    published,
    whenPublished,
    publish: async (key, multiaddr) => {
      await redis.send('RPUSH', key, multiaddr);
    },
    lost: redis.lost.then((how) => `redis-server ended during the run (${how})`),
    stop: async () => {
      monitor.destroy();
      await redis.stop();
    },
  };
};
