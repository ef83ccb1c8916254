/** A real redis-server for tests: free port, nothing on disk, gone with the test process. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** Why there can be no Redis here, or `false`: the `skip` of a test. */
export const noRedis: string | false =
  spawnSync('redis-server', ['--version'], { stdio: 'ignore' }).status === 0
    ? false
    : 'no redis-server on this machine (apt-get install redis-server)';

export interface RedisServer {
  readonly port: number;
  /** `127.0.0.1:<port>` */
  readonly address: string;
  /** Sends raw commands (words) and resolves with the raw reply. */
  send(...words: string[]): Promise<string>;
  /** Kills it at once, connections included. */
  stop(): Promise<void>;
}

/** A port that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
};

/** Starts one and waits until it answers. */
export const startRedis = async (
  port?: number,
  extra: readonly string[] = [],
): Promise<RedisServer> => {
  const chosen = port ?? (await freePort());
  const child = spawn(
    'redis-server',
    [
      '--port',
      String(chosen),
      '--save',
      '',
      '--appendonly',
      'no',
      '--loglevel',
      'warning',
      ...extra,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  const until = Date.now() + 10_000;
  while (!(await answers(chosen))) {
    if (child.exitCode !== null || Date.now() > until) {
      kill();
      throw new Error(`redis-server did not come up on port ${chosen}: ${output}`);
    }
    await delay(10);
  }
  return {
    port: chosen,
    address: `127.0.0.1:${chosen}`,
    send: (...words) => send(chosen, words),
    stop: async () => {
      process.off('exit', kill);
      await ended(child, kill);
    },
  };
};

const ended = async (child: ChildProcess, kill: () => void): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  kill();
  await exit;
};

const answers = (port: number): Promise<boolean> =>
  send(port, ['PING']).then(
    (reply) => reply.startsWith('+PONG') || reply.startsWith('-NOAUTH'),
    () => false,
  );

const send = async (port: number, words: readonly string[]): Promise<string> => {
  const socket = connect(port, '127.0.0.1');
  const request = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
  socket.write(`*${words.length}\r\n${request}`);
  try {
    const [reply] = (await once(socket, 'data')) as [Buffer];
    return reply.toString();
  } finally {
    socket.destroy();
  }
};
