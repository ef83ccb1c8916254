/**
 * A long run: connect, ping, transfer, disconnect over every engine and stack, while transfers are aborted and
 * processes killed at random moments. `make soak`, or
 *
 *     node bench/long-run.ts [--minutes 60] [--engines quinn,quiche,node]
 *
 * In each group of engines, four processes: a listener and a dialer that live as long as the run and are measured, and a
 * listener and a dialer that are killed (SIGKILL) every few seconds. Now and then all pause until no
 * connection is left; a sample of the first two is taken then. Exits 1 when a transfer ends wrongly, or
 * what a process holds at rest grows.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createProgram, listOf, oneOf, positive } from '../interop/command-line.ts';
import type { EngineName } from '../src/quic/engine-name.ts';
import type { Addresses, Counts, Order, Report, Sample } from './long-run/protocol.ts';
import { median } from './support/statistics.ts';

const PEER = fileURLToPath(new URL('./long-run/peer.ts', import.meta.url));
const RESULTS = fileURLToPath(new URL('../results/', import.meta.url));

const ENGINES: EngineName[] = ['quinn', 'quiche', 'node'];
const { minutes, engines } = createProgram(
  'long-run',
  'Connections, transfers, aborts and kills over every engine and stack.',
)
  .option('--minutes <n>', 'how long', positive, 60)
  .option('--engines <names>', 'with commas in between', listOf(oneOf(ENGINES)), ENGINES)
  .parse()
  .opts<{ minutes: number; engines: EngineName[] }>();
const duration = minutes * 60_000;
/** Samples that are taken, at the most. */
const SAMPLES = 90;
/** The shortest time between two rests, ms. */
const LEAST_WORK = 10_000;
const workTime = Math.max(LEAST_WORK, duration / SAMPLES - 8_000);
/** The lifetime of a process that is killed, ms. */
const lifetime = (): number => 1_000 + Math.random() * 9_000;
/** How long a report is waited for, ms. */
const PATIENCE = 180_000;

/** How much more a process may hold at rest in the last third than in the second; more is a leak. */
const MOST_GROWTH = { resident: 24 << 20, heap: 4 << 20, handles: 3, descriptors: 3 } as const;
type Measure = keyof typeof MOST_GROWTH;
const MEASURES = Object.keys(MOST_GROWTH) as Measure[];

interface Group {
  readonly name: string;
  readonly engines: string;
  readonly node: string;
  readonly flags: readonly string[];
}

const builtIn = engines.filter((it) => it !== 'node');
const groups: Group[] = [
  { name: builtIn.join('+'), engines: builtIn.join(','), node: process.execPath, flags: [] },
];
if (engines.includes('node')) {
  const { NODE_QUIC } = process.env;
  if (NODE_QUIC === undefined) console.error('skipped: node:quic (NODE_QUIC is not set)');
  else
    groups.push({ name: 'node', engines: 'node', node: NODE_QUIC, flags: ['--experimental-quic'] });
}

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

const start = ({ engines, node, flags }: Group, role: string, life: string): ChildProcess => {
  const child = fork(PEER, [role, life, engines], {
    execPath: node,
    execArgv: ['--expose-gc', '--disable-warning=ExperimentalWarning', ...flags],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  children.add(child);
  child.once('exit', (code, signal) => {
    children.delete(child);
    // Only mortal processes may end, by our SIGKILL.
    if (signal !== 'SIGKILL' || life === 'steady') {
      console.error(`long-run: the ${life} ${role} process ended with ${code ?? signal}`);
      process.exit(1);
    }
  });
  return child;
};

const order = (child: ChildProcess, what: Order): void => {
  if (child.connected) child.send(what);
};

const reportOf = async <Kind extends Report['say']>(
  child: ChildProcess,
  say: Kind,
): Promise<Extract<Report, { say: Kind }>> => {
  const signal = AbortSignal.timeout(PATIENCE);
  for (;;) {
    const [report] = (await once(child, 'message', { signal })) as [Report];
    if (report.say === say) return report as Extract<Report, { say: Kind }>;
  }
};

interface Course {
  readonly samples: Sample[];
  counts: Counts;
}

const runGroup = async (group: Group): Promise<Map<string, Course>> => {
  const listener = start(group, 'listen', 'steady');
  const { addresses: steady } = await reportOf(listener, 'listening');
  const dialer = start(group, 'dial', 'steady');
  await reportOf(dialer, 'listening');
  const courses = new Map<string, Course>(
    ['listener', 'dialer'].map((name) => [name, { samples: [], counts: {} }]),
  );
  const steadyOnes = [listener, dialer];
  let kills = 0;
  let resting = false;
  let over = false;

  const whereWith = (mortal: Readonly<Record<string, string>>): Record<string, Addresses> =>
    Object.fromEntries(
      Object.entries(steady).map(([stack, address]) => [
        stack,
        { steady: address, mortal: mortal[stack] },
      ]),
    );

  /** One process after the other, each killed at a random moment. */
  const keepKilling = async (role: 'listen' | 'dial'): Promise<void> => {
    while (!over) {
      if (resting) {
        await delay(200);
        continue;
      }
      const child = start(group, role, 'mortal');
      const { addresses } = await reportOf(child, 'listening');
      if (role === 'dial') order(child, { do: 'dial', where: whereWith({}) });
      else order(dialer, { do: 'dial', where: whereWith(addresses) });
      const end = performance.now() + lifetime();
      while (performance.now() < end && !resting && !over) await delay(50);
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      kills++;
    }
  };

  const sample = async (): Promise<void> => {
    resting = true;
    const reports = steadyOnes.map((child) => reportOf(child, 'sample'));
    order(dialer, { do: 'rest' });
    const dialed = await reports[1];
    order(listener, { do: 'rest' });
    const listened = await reports[0];
    for (const [name, report] of [
      ['dialer', dialed],
      ['listener', listened],
    ] as const) {
      const course = courses.get(name);
      if (report === undefined || course === undefined) continue;
      course.samples.push(report.sample);
      course.counts = report.counts;
    }
    resting = false;
  };

  order(dialer, { do: 'dial', where: whereWith({}) });
  const killing = [keepKilling('listen'), keepKilling('dial')];
  const began = performance.now();
  while (performance.now() - began < duration) {
    await delay(Math.min(workTime, Math.max(0, duration - (performance.now() - began))));
    await sample();
    order(dialer, { do: 'go on' });
    write();
  }
  over = true;
  await Promise.all(killing);
  console.error(`${group.name}: ${kills} processes killed`);
  for (const child of steadyOnes) {
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
  }
  return courses;

  function write(): void {
    mkdirSync(RESULTS, { recursive: true });
    const file = `${RESULTS}long-run-${group.name}.json`;
    writeFileSync(file, JSON.stringify({ group, kills, courses: [...courses] }, null, 1));
  }
};

/** The slope of a measure per hour, by least squares. */
const slope = (samples: readonly Sample[], measure: Measure): number => {
  const hours = samples.map((it) => it.at / 3_600_000);
  const meanX = hours.reduce((a, b) => a + b, 0) / hours.length;
  const meanY = samples.reduce((a, b) => a + b[measure], 0) / samples.length;
  let [above, below] = [0, 0];
  for (const [i, x] of hours.entries()) {
    above += (x - meanX) * ((samples[i]?.[measure] ?? 0) - meanY);
    below += (x - meanX) ** 2;
  }
  return below === 0 ? 0 : above / below;
};

const thirdOf = (samples: readonly Sample[], third: number, measure: Measure): number =>
  median(
    samples
      .slice(
        Math.floor((samples.length * third) / 3),
        Math.floor((samples.length * (third + 1)) / 3),
      )
      .map((it) => it[measure]),
  );

const shown = (value: number, measure: Measure): string =>
  measure === 'resident' || measure === 'heap'
    ? `${(value / (1 << 20)).toFixed(1)} MiB`
    : value.toFixed(1);

/** Prints the results; returns whether all were good. */
const judge = (group: Group, courses: ReadonlyMap<string, Course>): boolean => {
  let well = true;
  const wrong = (what: string): void => {
    well = false;
    console.log(`  WRONG: ${what}`);
  };
  for (const [name, { samples, counts }] of courses) {
    console.log(`\n${group.name}, ${name}: ${samples.length} samples at rest`);
    for (const measure of MEASURES) {
      const parts = [0, 1, 2].map((third) => thirdOf(samples, third, measure));
      const [, second = 0, last = 0] = parts;
      const later = samples.slice(Math.floor(samples.length / 3));
      console.log(
        `  ${measure.padEnd(12)} thirds ${parts.map((it) => shown(it, measure)).join(', ')}; ` +
          `slope after the first ${shown(slope(later, measure), measure)}/h`,
      );
      if (last - second > MOST_GROWTH[measure]) wrong(`${measure} grows`);
    }
    const stuck = samples.reduce((sum, it) => sum + it.connections, 0);
    if (stuck > 0) wrong(`${stuck} connections did not end`);
    for (const [stack, outcomes] of Object.entries(counts)) {
      const { rounds, complete, refused, bytes, codes } = outcomes;
      console.log(
        `  ${stack.padEnd(18)} ${rounds} rounds, ${complete} complete (${shown(bytes, 'heap')}), ${refused} ended by error: ${JSON.stringify(codes)}`,
      );
      const odd = rounds - complete - refused - outcomes.wrong.length;
      if (odd !== 0) wrong(`${stack}: ${odd} rounds have no end`);
      const kinds = new Map<string, number>();
      for (const what of outcomes.wrong) kinds.set(what, (kinds.get(what) ?? 0) + 1);
      for (const [what, times] of kinds) wrong(`${stack}: ${times} × ${what}`);
    }
  }
  return well;
};

const results = await Promise.all(groups.map(runGroup));
const verdicts = groups.map((group, i) => judge(group, results[i] ?? new Map()));
process.exit(verdicts.every(Boolean) ? 0 : 1);
