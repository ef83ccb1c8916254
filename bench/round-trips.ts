/**
 * How many round trips a connection takes, by delay and loss: QUIC beside TCP with Noise or TLS, and WebSocket.
 * Real packets of real stacks through the seeded relay of the interop matrix (docs/matrix.md): both sides run
 * in network namespaces of their own. Writes bench/round-trips.md and bench/round-trips.svg. Linux, root.
 *
 *     node bench/round-trips.ts [--rtts 0,50,100,200] [--losses 0,1,5] [--times 10] [--seed 1]
 *                               [--stacks 'QUIC|TCP, TLS, yamux'] [--add]
 *
 * `--add`: to what is in results/round-trips.json of earlier calls, so that a long run can be made in parts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { createProgram, listOf, whole } from '../interop/command-line.ts';
import { plainLink } from '../interop/network/conditions.ts';
import { noTcpPath, openTcpPath } from '../interop/network/tcp-path.ts';
import { inRealTime } from '../interop/network/udp-relay.ts';
import { type Cell, inOrder, roundTripChart, roundTripTable } from './round-trips-report.ts';
import { ROOT } from './support/participants.ts';
import type { RoundTripTimes } from './support/round-trip-dialer.ts';

const values = createProgram('round-trips', 'How many round trips a connection takes.')
  .option('--rtts <ms>', 'with commas in between', listOf(whole(0, 10_000)), [0, 50, 100, 200])
  .option('--losses <percent>', 'with commas in between', listOf(whole(0, 100)), [0, 1, 5])
  .option('--times <n>', 'connections of each', whole(1, 1000), 10)
  .option('--seed <n>', 'decides which packets are lost', whole(0, 2 ** 32 - 1), 1)
  .option('--stacks <names>', "only these, with | in between, such as 'QUIC|TCP, TLS, yamux'")
  .option('--add', 'add to what earlier calls have left in results/round-trips.json', false)
  .parse()
  .opts<{
    rtts: number[];
    losses: number[];
    times: number;
    seed: number;
    stacks?: string;
    add: boolean;
  }>();

const LISTENER_IP = '192.0.2.2';
/** The path requires a port, though nothing is forwarded. */
const NO_PORT = 1;
const START_TIMEOUT = 30_000;
/** For one stack at one delay and loss. */
const RUN_TIMEOUT = 900_000;

const STACKS = [
  { name: 'QUIC', where: '/udp/4001/quic-v1', security: 'noise' },
  { name: 'TCP, Noise, yamux', where: '/tcp/4001', security: 'noise' },
  { name: 'TCP, TLS, yamux', where: '/tcp/4001', security: 'tls' },
  { name: 'WebSocket, Noise, yamux', where: '/tcp/4002/ws', security: 'noise' },
] as const;

const wanted = values.stacks?.split('|');
const chosen = STACKS.filter(({ name }) => wanted === undefined || wanted.includes(name));

const launcher = path.join(ROOT, 'bin/libp2p-lean');
const dialer = path.join(ROOT, 'bench/support/round-trip-dialer.ts');

const measure = async (rtt: number, loss: number): Promise<Cell[]> => {
  const link = await openTcpPath(plainLink(rtt / 2, loss / 100), values.seed, NO_PORT);
  const run = (role: 'dialer' | 'listener', command: readonly string[]) => {
    const [file = '', ...args] = link.wrap(role, inRealTime(command));
    const log = role === 'dialer' ? 'inherit' : 'ignore';
    return spawn(file, args, { stdio: ['pipe', 'pipe', log] });
  };
  const addresses = ['/udp/4001/quic-v1', '/tcp/4001', '/tcp/4002/ws'].map(
    (where) => `/ip4/${LISTENER_IP}${where}`,
  );
  const listen = [process.execPath, launcher, 'listen', '--engine', 'quinn', '--perf'];
  const listener = run('listener', [...listen, ...addresses]);
  const stop = (): void => void listener.kill();
  process.once('exit', stop);
  const cells: Cell[] = [];
  try {
    const signal = AbortSignal.timeout(START_TIMEOUT);
    const [first] = await once(createInterface({ input: listener.stdout }), 'line', { signal });
    const peer = /\/p2p\/\w+/.exec(String(first))?.[0] ?? '';
    for (const { name, where, security } of chosen) {
      const address = `/ip4/${LISTENER_IP}${where}${peer}`;
      const node = [process.execPath, '--disable-warning=ExperimentalWarning', dialer];
      const child = run('dialer', [...node, address, security, String(values.times)]);
      const timer = setTimeout(() => child.kill(), RUN_TIMEOUT);
      const lines = (await text(child.stdout)).trim().split('\n').filter(Boolean);
      clearTimeout(timer);
      const measured = lines.map((line) => JSON.parse(line) as RoundTripTimes);
      const times: Cell['times'] = {
        firstPing: measured.map(({ firstPing }) => firstPing),
        firstMebibyte: measured.map(({ firstMebibyte }) => firstMebibyte),
      };
      cells.push({ stack: name, rtt, loss, asked: values.times, times });
      const { lateness } = await link.relay.stats();
      process.stderr.write(
        `${rtt} ms, ${loss} %, ${name}: ${measured.length} of ${values.times}; relay late by ${lateness.p99.toFixed(2)} ms (99 %)\n`,
      );
    }
  } finally {
    process.off('exit', stop);
    listener.kill();
    await link.close();
  }
  return cells;
};

const lacking = noTcpPath();
if (lacking !== false) {
  process.stderr.write(`${lacking.replace('network conditions for TCP need', 'this needs')}\n`);
  process.exit(2);
}
const results = path.join(ROOT, 'results');
const kept = path.join(results, 'round-trips.json');

interface Kept {
  readonly cells: readonly Cell[];
  readonly commands: readonly string[];
}

const earlier: Kept =
  values.add && existsSync(kept)
    ? (JSON.parse(readFileSync(kept, 'utf8')) as Kept)
    : { cells: [], commands: [] };
const cells: Cell[] = [];
for (const loss of values.losses) {
  for (const rtt of values.rtts) cells.push(...(await measure(rtt, loss)));
}
const same = (one: Cell, other: Cell): boolean =>
  one.stack === other.stack && one.rtt === other.rtt && one.loss === other.loss;
const all: Kept = {
  cells: inOrder(
    [...earlier.cells.filter((one) => !cells.some((other) => same(one, other))), ...cells],
    STACKS.map(({ name }) => name),
  ),
  commands: [
    ...earlier.commands,
    `node bench/round-trips.ts ${process.argv.slice(2).join(' ')}`.trim(),
  ],
};
mkdirSync(results, { recursive: true });
writeFileSync(kept, `${JSON.stringify(all, null, 1)}\n`);
const run = {
  cells: all.cells,
  command: values.add ? `node bench/round-trips.ts --add …` : (all.commands[0] ?? ''),
  date: new Date().toISOString().slice(0, 10),
  machine: `${os.cpus().length} × ${os.cpus()[0]?.model}, Node.js ${process.version}, load average ${os.loadavg()[0]?.toFixed(1)} at the end`,
};
writeFileSync(path.join(ROOT, 'bench/round-trips.svg'), roundTripChart(run));
writeFileSync(path.join(ROOT, 'bench/round-trips.md'), roundTripTable(run));
process.stdout.write(roundTripTable(run));
