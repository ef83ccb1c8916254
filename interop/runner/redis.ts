/** A private redis-server on a free port, and a view of who published what under which key. */

import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket, connect as tcpConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { MatrixError } from './error.ts';
import { type Child, start } from './processes.ts';

export interface Publication {
  readonly multiaddr: string;
  /** When it arrived, on the clock of `performance.now()`. */
  readonly at: number;
}

export interface RedisServer {
  /** `host:port`, as participants reach it. */
  readonly address: string;
  /** The first value that was put under `key` (SET, RPUSH or LPUSH). */
  published(key: string): Publication | undefined;
  /** Settles with a line that says why, when the server ends before `stop` was called. */
  readonly lost: Promise<string>;
  stop(): Promise<void>;
}

/** Whether a program is on PATH. */
export const onPath = (program: string): boolean =>
  (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });

const connect = (port: number): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = tcpConnect({ port, host: '127.0.0.1' });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
  });

/** The words of a line of Redis MONITOR: `+1700000000.1 [0 127.0.0.1:5] "RPUSH" "key" "value"`. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, word = '']) => word.replace(/\\(.)/g, '$1'));

/** Notes what is published, from the output of MONITOR. */
export const publicationsOf = (): {
  feed(chunk: string): void;
  published(key: string): Publication | undefined;
} => {
  const published = new Map<string, Publication>();
  let rest = '';
  return {
    feed: (chunk) => {
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() ?? '').slice(0, 64 * 1024);
      for (const line of lines) {
        const [command = '', key, multiaddr] = wordsOf(line);
        if (key === undefined || multiaddr === undefined) continue;
        if (!/^(set|rpush|lpush)$/i.test(command) || published.has(key)) continue;
        published.set(key, { multiaddr: multiaddr.slice(0, 1024), at: performance.now() });
      }
    },
    published: (key) => published.get(key),
  };
};

/** The one line for a machine without Redis. */
export const REDIS_MISSING =
  'redis-server is not on PATH; install it (Debian: apt-get install redis-server; macOS: brew install redis)';

/**
 * Starts a redis-server that keeps nothing on disk and listens on 127.0.0.1.
 *
 * @param log where its output goes
 * @throws MatrixError when redis-server is missing or does not come up within 10 s
 */
export const startRedis = async (log: string): Promise<RedisServer> => {
  if (!onPath('redis-server')) throw new MatrixError(REDIS_MISSING);
  const folder = await mkdtemp(join(tmpdir(), 'libp2p-lean-redis-'));
  // Another process may take the port between the probe and the server's bind: then try another.
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const command = [
      'redis-server',
      ...['--port', String(port), '--bind', '127.0.0.1'],
      ...['--save', '', '--appendonly', 'no', '--dir', folder],
    ];
    const child = await start({
      command,
      env: process.env,
      cwd: folder,
      log,
      header: [command.map((word) => word || "''").join(' ')],
    });
    const socket = await ready(child, port);
    if (typeof socket === 'object') return serve(child, port, socket, folder);
    await child.stop(500);
    if (attempt === 3) {
      await rm(folder, { recursive: true, force: true });
      throw new MatrixError(`redis-server did not come up: ${socket}; see ${log}`);
    }
  }
};

/** A connection with MONITOR running on it, or why there is none. */
const ready = async (child: Child, port: number): Promise<Socket | string> => {
  let gone = false;
  child.exited.then(() => {
    gone = true;
  });
  const deadline = performance.now() + 10_000;
  while (performance.now() < deadline) {
    if (gone) return 'it exited at once';
    try {
      return await connect(port);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return 'it did not accept connections within 10 s';
};

const serve = (child: Child, port: number, monitor: Socket, folder: string): RedisServer => {
  const { feed, published } = publicationsOf();
  monitor.setEncoding('utf8');
  monitor.on('data', feed);
  monitor.write('MONITOR\r\n');
  let stopping = false;
  const lost = new Promise<string>((resolve) => {
    child.exited.then((exit) => {
      if (!stopping)
        resolve(`redis-server ended during the run (${exit.signal ?? `exit code ${exit.code}`})`);
    });
  });
  return {
    address: `127.0.0.1:${port}`,
    published,
    lost,
    stop: async () => {
      stopping = true;
      monitor.destroy();
      await child.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
};
