/**
 * A private redis-server, for tests, benchmarks, the matrix and `make run`: on a free port of
 * 127.0.0.1, nothing on disk, ended with this process.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { onPath } from './on-path.ts';

/** Why there can be no Redis here, or `false`: the `skip` of a test. */
export const noRedis: string | false = onPath('redis-server')
  ? false
  : 'redis-server is not on PATH; install it (Debian: apt-get install redis-server; macOS: brew install redis)';

export interface RedisServer {
  readonly port: number;
  /** `127.0.0.1:<port>` */
  readonly address: string;
  /** Resolves with a signal's name or an exit code when it ends before `stop` was called. */
  readonly lost: Promise<string>;
  /** Sends one command; resolves with the first part of the reply as it came. */
  send(...words: string[]): Promise<string>;
  /** Sends its process a signal: SIGSTOP, SIGCONT. */
  signal(name: NodeJS.Signals): void;
  /** Kills it at once, its connections included. */
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** By default a free one. */
  readonly port?: number;
  /** More arguments for redis-server. */
  readonly args?: readonly string[];
  /** A file for what it prints; its folder exists. */
  readonly log?: string;
  /** In a process group of its own, so that a Ctrl-C on the terminal does not reach it. */
  readonly detached?: boolean;
}

const READY = /ready to accept connections/i;
const START_TIMEOUT_MS = 10_000;
/** Above every timeout that is put into a blocking command. */
const REPLY_TIMEOUT_MS = 90_000;
/** Another process may take a free port before redis-server does. */
const ATTEMPTS = 3;

const running = new Set<ChildProcess>();
const killAll = (): void => {
  for (const child of running) child.kill('SIGKILL');
};

/** A port of 127.0.0.1 that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
};

/**
 * Starts a redis-server and waits until it takes connections.
 *
 * @throws Error with one line when there is no redis-server, or it does not come up within 10 s
 */
export const startRedis = async (options: RedisOptions = {}): Promise<RedisServer> => {
  if (noRedis !== false) throw new Error(noRedis);
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    try {
      return await launch(port, options);
    } catch (error) {
      if (options.port !== undefined || attempt === ATTEMPTS) throw error;
    }
  }
};

const launch = async (port: number, options: RedisOptions): Promise<RedisServer> => {
  const child = spawn(
    'redis-server',
    [
      ...['--port', String(port), '--bind', '127.0.0.1'],
      ...['--save', '', '--appendonly', 'no'],
      ...(options.args ?? []),
    ],
    { cwd: tmpdir(), stdio: ['ignore', 'pipe', 'pipe'], detached: options.detached ?? false },
  );
  if (running.size === 0) process.on('exit', killAll);
  running.add(child);
  let stopped = false;
  const ended = endOf(child);
  const lost = new Promise<string>((resolve) => {
    ended.then((how) => {
      running.delete(child);
      if (running.size === 0) process.off('exit', killAll);
      if (!stopped) resolve(how);
    });
  });
  const stop = async (): Promise<void> => {
    stopped = true;
    child.kill('SIGKILL');
    await ended;
  };
  try {
    await ready(
      child,
      ended,
      options.log === undefined ? undefined : createWriteStream(options.log),
    );
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    port,
    address: `127.0.0.1:${port}`,
    lost,
    send: (...words) => sendCommand(port, words),
    signal: (name) => void child.kill(name),
    stop,
  };
};

/** Resolves with a line when the process has ended or could not be started; never rejects. */
const endOf = (child: ChildProcess): Promise<string> =>
  new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });

/** Resolves when it says that it takes connections; its output goes to `log` until it ends. */
const ready = (
  child: ChildProcess,
  ended: Promise<string>,
  log: WriteStream | undefined,
): Promise<void> =>
  new Promise((resolve, reject) => {
    // A full disk must not end a run.
    log?.on('error', () => {});
    let output = '';
    const fail = (why: string): void => {
      const line = output.trim().split('\n').at(-1) ?? '';
      reject(new Error(`redis-server did not come up: ${why}${line === '' ? '' : `: ${line}`}`));
    };
    const timer = setTimeout(() => fail('it was not ready within 10 s'), START_TIMEOUT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        log?.write(chunk);
        output = (output + chunk).slice(-4096);
        if (!READY.test(output)) return;
        clearTimeout(timer);
        resolve();
      });
    }
    ended.then((how) => {
      clearTimeout(timer);
      log?.end();
      fail(how);
    });
  });

/** Sends one command to 127.0.0.1; resolves with the first part of the reply as it came. */
export const sendCommand = async (port: number, words: readonly string[]): Promise<string> => {
  const socket = connect(port, '127.0.0.1');
  socket.setTimeout(REPLY_TIMEOUT_MS, () => {
    socket.destroy(new Error(`Redis did not answer ${words[0]} within ${REPLY_TIMEOUT_MS} ms`));
  });
  const request = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
  socket.write(`*${words.length}\r\n${request}`);
  try {
    for await (const chunk of socket) return String(chunk);
    throw new Error(`Redis closed the connection without an answer to ${words[0]}`);
  } finally {
    socket.destroy();
  }
};
