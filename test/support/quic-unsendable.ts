/**
 * What becomes of an engine's sockets when the kernel refuses to send, in a network namespace of its
 * own (`unshare --net`), where a firewall rule makes sends to one port fail with EPERM.
 *
 *     unshare --net node test/support/quic-unsendable.ts <node|quiche> <node|quiche>
 *
 * The first engine listens, the second dials. Prints one line for each step that went well.
 */

import { execFileSync } from 'node:child_process';
import type { QuicConnection, QuicEngine } from '../../src/quic/engine.ts';
import { issueTestCredentials } from './quic-credentials.ts';
import { echo, readAll } from './quic-helpers.ts';

const [listening = '', dialling = ''] = process.argv.slice(2);

const load = async (name: string): Promise<QuicEngine> => {
  if (name === 'node') return (await import('../../src/quic/node/engine.ts')).nodeQuicEngine();
  return (await import('../../src/quic/quiche/engine.ts')).quicheEngine();
};

/** Runs `body` while what leaves port `from` for port `to` is refused, and at least three packets were. */
const refusing = async (from: number, to: number, body: () => Promise<unknown>): Promise<void> => {
  const rule = ['OUTPUT', '-p', 'udp', '--sport', `${from}`, '--dport', `${to}`, '-j', 'DROP'];
  const iptables = (...args: string[]): string =>
    execFileSync('iptables', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  iptables('-A', ...rule);
  await body();
  const refused = (): number =>
    Number(/^\s*(\d+).* DROP /m.exec(iptables('-nvxL', 'OUTPUT'))?.[1] ?? 0);
  while (refused() < 3) await new Promise((resolve) => setTimeout(resolve, 20));
  iptables('-D', ...rule);
};

const serve = async (connection: QuicConnection): Promise<void> => {
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    echo(stream).catch(() => {});
  }
};

const [listener, dialer] = await Promise.all([load(listening), load(dialling)]);
const options = { credentials: await issueTestCredentials('x'), authenticate: () => {} };
execFileSync('ip', ['link', 'set', 'lo', 'up']);

const bound = await listener.listen({
  ...options,
  address: { host: '127.0.0.1', port: 0 },
  onConnection: (connection) => void serve(connection),
});
const dial = (): Promise<QuicConnection> =>
  dialer.dial(bound.address, { ...options, signal: AbortSignal.timeout(20_000) });

const echoes = async (connection: QuicConnection, size: number): Promise<void> => {
  const message = Buffer.alloc(size, 'x');
  const stream = await connection.openStream(AbortSignal.timeout(20_000));
  stream.write(message);
  stream.closeWrite();
  if (!message.equals(await readAll(stream))) throw new Error('another echo');
};

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const cut = await dial();
const other = await dial();
await Promise.all([echoes(cut, 1000), echoes(other, 1000)]);
say('connected');

const ours = bound.address.port;
const theirs = cut.localAddress.port;
let stuck: Promise<void> | undefined;
await refusing(ours, theirs, async () => {
  stuck = echoes(cut, 200_000);
  stuck.catch(() => {});
  // node:quic dials both from one socket.
  if (other.localAddress.port !== theirs) await echoes(other, 1000);
});
await stuck;
say('the listener could not send for a while');

await refusing(theirs, ours, async () => {
  stuck = echoes(cut, 200_000);
  stuck.catch(() => {});
});
await stuck;
say('the dialer could not send for a while');

await echoes(await dial(), 1000);
say('a new connection');
process.exit(0);
