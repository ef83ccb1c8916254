/**
 * Whether memory stays flat: the perf participants, as their container runs them, move 10 GiB up and
 * 10 GiB down in one stream each, while the resident memory of both is sampled.
 *
 *     node bench/ten-gib.ts [--gib 10] [--stacks quinn,tcp]
 *
 * Prints a table on stdout. Takes some minutes.
 */

import { once } from 'node:events';
import { createProgram, positive } from '../interop/command-line.ts';
import { startRedis } from '../interop/redis-server.ts';
import { type Participant, participants } from './support/participants.ts';
import { end, residentBytes, start, within } from './support/processes.ts';
import { print, startSection } from './support/report.ts';

const values = createProgram('ten-gib', 'Whether memory stays flat over 10 GiB each way.')
  .option('--gib <n>', 'that are moved each way', positive, 10)
  .option('--stacks <names>', 'only stacks whose name contains one of these: quinn,tcp', '')
  .parse()
  .opts<{ gib: number; stacks: string }>();
/** Whether `--stacks` selects it. */
const selected = (name: string): boolean =>
  values.stacks.split(',').some((part) => name.includes(part));
const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** Between samples, ms. */
const INTERVAL = 500;
const TIMEOUT = 20 * 60_000;

const bytes = Math.ceil(values.gib * GIB);
const conditions = startSection();
const redis = await startRedis();

/** MiB resident after a tenth, half and all of the time, and at most. */
const shown = (samples: readonly number[]): string[] =>
  [
    ...[0.1, 0.5, 1].map((part) => samples[Math.ceil(part * samples.length) - 1] ?? Number.NaN),
    Math.max(...samples),
  ].map((resident) => (resident / MIB).toFixed(0));

const measure = async (
  name: string,
  { file, args, env }: Participant,
  combination: Readonly<Record<string, string>>,
): Promise<string[][]> => {
  process.stderr.write(`${name}\n`);
  const command = { file, args: [...args, 'perf'], ...(env && { env }) };
  const variables = {
    ...combination,
    REDIS_ADDR: redis.address,
    TEST_KEY: name.replaceAll(/\W/g, ''),
    LISTENER_IP: '127.0.0.1',
    UPLOAD_BYTES: String(bytes),
    DOWNLOAD_BYTES: String(bytes),
    UPLOAD_ITERATIONS: '1',
    DOWNLOAD_ITERATIONS: '1',
    LATENCY_ITERATIONS: '1',
  };
  const listener = start(command, { ...variables, IS_DIALER: 'false' });
  const dialer = start(command, { ...variables, IS_DIALER: 'true' });
  const samples = [dialer, listener].map((): number[] => []);
  const timer = setInterval(() => {
    for (const [side, { pid = 0 }] of [dialer, listener].entries()) {
      try {
        samples[side]?.push(residentBytes(pid));
      } catch {
        // It has ended.
      }
    }
  }, INTERVAL);
  let report = '';
  dialer.stdout?.setEncoding('utf8').on('data', (text: string) => {
    report += text;
  });
  try {
    const [code] = await within(once(dialer, 'close'), command, TIMEOUT);
    if (code !== 0) throw new Error(`${name}: the dialer ended with ${code}`);
  } finally {
    clearInterval(timer);
    await end(listener);
  }
  const rates = [...report.matchAll(/^ +median: ([\d.]+)/gm)].map(([, rate]) => rate ?? '');
  return (['dialer', 'listener'] as const).map((side, index) => [
    name,
    side,
    ...shown(samples[index] ?? []),
    `${rates[0]} up, ${rates[1]} down`,
  ]);
};

const rows: string[][] = [];
const tcp = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };
const [first, ...others] = (await participants()).filter(({ name }) => !name.startsWith('js'));
if (first === undefined) throw new Error('no participant');
for (const participant of [first, ...others].filter(({ name }) => selected(name))) {
  rows.push(...(await measure(participant.name, participant, { TRANSPORT: 'quic-v1' })));
}
const TCP = 'libp2p-lean, tcp, noise, yamux';
if (selected(TCP)) rows.push(...(await measure(TCP, first, tcp)));
await redis.stop();
const head = ['stack', 'side', 'MiB at 10 %', 'at 50 %', 'at the end', 'peak', 'Gbit/s'];
print({
  id: 'ten-gib',
  rows: [head, ...rows],
  note: `VmRSS during ${values.gib} GiB up, then ${values.gib} GiB down. ${conditions()}`,
});
process.exit(0);
