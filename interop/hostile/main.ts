/**
 * `make hostile`: one set of attacks against a listener of every implementation. Reports what a good client saw
 * meanwhile, and the listener's memory. docs/hostile.md is its manual.
 *
 * Exit codes: 0 our listeners kept what is required of them; 1 one did not; 2 a flag is wrong or something is missing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Option } from 'commander';
import { messageOf } from '../../src/errors.ts';
import {
  createProgram,
  exitsWith,
  listOf,
  oneOf,
  positive,
  runProgram,
  say,
  whole,
} from '../command-line.ts';
import { noRedis } from '../redis-server.ts';
import { MatrixError } from '../runner/error.ts';
import type { Participant } from '../runner/executors.ts';
import { type Implementation, readImages } from '../runner/images.ts';
import { ROOT, resolveParticipants } from '../runner/participants.ts';
import { type LocalRedis, startWatchedRedis } from '../runner/redis.ts';
import { ATTACKS, type Attack } from './attacks.ts';
import type { Sight } from './good-client.ts';
import { type Hosts, moveIn, openHosts } from './hosts.ts';
import { type Listener, startListener } from './listener.ts';
import { keeps, type Outcome, renderOutcomes, TOLERANCE } from './report.ts';

const DEFAULT_IMPLEMENTATIONS = [
  ...['libp2p-lean-quinn', 'libp2p-lean-node', 'libp2p-lean-quiche', 'libp2p-lean-v0.1'],
  ...['go-v0.51', 'rust-v0.57', 'litep2p-v0.16', 'js-v3.x', 'py-v0.x'],
];
const ATTACKER = fileURLToPath(new URL('attacker.ts', import.meta.url));
const GOOD_CLIENT = fileURLToPath(new URL('good-client.ts', import.meta.url));
const START_TIMEOUT = 60_000;
const SAMPLE_EVERY = 100;
/** The report of an attacker that has not begun. */
const NOTHING = '{}';

interface Flags {
  readonly implementations: readonly string[];
  readonly attacks: readonly string[];
  readonly seconds: number;
  readonly settle: number;
  readonly warmUp: number;
  readonly out: string;
}

const node = (script: string, ...args: string[]): string[] => [
  ...[process.execPath, '--disable-warning=ExperimentalWarning', script],
  ...args,
];

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

const spawnOn = (
  host: Hosts['good'],
  command: readonly string[],
  niceness: number,
): ChildProcess => {
  const [file = '', ...args] = ['nice', '-n', String(niceness), ...host.wrap(command)];
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
};

/** The output of a child, line by line. */
const linesOf = (child: ChildProcess): (() => Promise<string>) => {
  if (child.stdout === null) throw new Error('no stdout');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    const timeout = delay(START_TIMEOUT, undefined, { ref: false }).then(() => {
      throw new Error('the good client says nothing');
    });
    timeout.catch(() => {});
    const line = await Promise.race([lines.next(), timeout]);
    if (line.done === true) throw new Error('the good client could not get through');
    return line.value;
  };
};

interface Place {
  readonly hosts: Hosts;
  readonly redis: LocalRedis;
  readonly flags: Flags;
}

const attackOnce = async (
  { hosts, redis, flags }: Place,
  implementation: Implementation,
  participant: Participant,
  attack: Attack,
): Promise<Outcome> => {
  const { id, ours } = implementation;
  const key = `${id}-${attack.name}`;
  const listener = await startListener({
    ...{ implementation, participant, layer: attack.layer, listenerIp: hosts.listenerIp },
    ...{ redis, key, log: join(flags.out, 'logs', key, 'listener.log') },
  });
  let ended = false;
  listener.child.exited.then(() => {
    ended = true;
  });
  const good = spawnOn(hosts.good, node(GOOD_CLIENT, listener.multiaddr, String(flags.warmUp)), 0);
  const attacker: { child?: ChildProcess } = {};
  try {
    const said = linesOf(good);
    const seen = async (): Promise<Sight> => {
      good.stdin?.write('?\n');
      return JSON.parse(await said()) as Sight;
    };
    await said();
    good.stdin?.write('go\n');
    // Three pings and dials after the warm-up.
    await delay(3_000);
    await seen();
    const before = await steady(listener);
    let did = NOTHING;
    attacker.child = spawnOn(hosts.hostile, node(ATTACKER, attack.name, listener.multiaddr), 5);
    if (attacker.child.stdout !== null) {
      createInterface({ input: attacker.child.stdout }).on('line', (line) => {
        did = line;
      });
    }
    let peak = before;
    let until = performance.now() + START_TIMEOUT;
    let begun = false;
    const goesOn = (): boolean =>
      performance.now() < until ||
      (attack.endless !== true &&
        !did.includes('finished') &&
        performance.now() < until + START_TIMEOUT);
    while (goesOn() && !ended) {
      if (!begun && did !== NOTHING) {
        begun = true;
        until = performance.now() + 1_000 * flags.seconds;
      }
      peak = Math.max(peak, listener.memory());
      await delay(SAMPLE_EVERY);
    }
    if (!begun && !ended) throw new Error('the attack did nothing');
    const during = await seen();
    attacker.child.kill('SIGKILL');
    const settled = performance.now() + 1_000 * flags.settle;
    while (performance.now() < settled && !ended) {
      const memory = listener.memory();
      peak = Math.max(peak, memory);
      if (memory <= before * TOLERANCE) break;
      await delay(SAMPLE_EVERY);
    }
    const after = listener.memory();
    await delay(2_000);
    const afterwards = await seen();
    const text = readFileSync(listener.log, 'utf8');
    return {
      ...{ implementation: id, ours, attack: attack.name, did: JSON.parse(did) as Outcome['did'] },
      ...{ before, peak, after, during, afterwards, alive: !ended },
      logBytes: listener.logBytes(),
      logLines: text.split('\n').filter((line) => line.includes(' err  ')).length,
      lastLog:
        text
          .split('\n')
          .filter((line) => line.includes(' err  '))
          .at(-1)
          ?.slice(15) ?? null,
    };
  } finally {
    good.kill('SIGKILL');
    attacker.child?.kill('SIGKILL');
    await listener.child.stop();
  }
};

/** Memory once it does not grow any more, or 5 s have passed. */
const steady = async (listener: Listener): Promise<number> => {
  let before = listener.memory();
  for (let looks = 0; looks < 10; looks++) {
    await delay(500);
    const now = listener.memory();
    if (now <= before * 1.01) return now;
    before = now;
  }
  return before;
};

const main = async (flags: Flags): Promise<number> => {
  if (noRedis !== false) throw new MatrixError(noRedis);
  const images = await readImages(join(ROOT, 'interop', 'images.yaml'));
  const ids = flags.implementations;
  const unknown = ids.find((id) => !images.implementations.some((one) => one.id === id));
  if (unknown !== undefined) throw new MatrixError(`there is no implementation ${unknown}`);
  const attacks = ATTACKS.filter(({ name }) => flags.attacks.includes(name));
  const implementations = images.implementations.filter(({ id }) => ids.includes(id));
  // Built first: inside the namespace no package registry can be reached.
  const { participants, skipped } = await resolveParticipants(
    implementations,
    'process',
    'unified',
  );
  const apart = moveIn();
  if (apart === 'moved') return await new Promise(() => {});
  for (const [id, why] of skipped) say(`skipped ${id}: ${why}`);
  if (apart !== false) say(`all on loopback, where hosts have no limits of their own: ${apart}`);
  rmSync(flags.out, { recursive: true, force: true });
  mkdirSync(join(flags.out, 'logs'), { recursive: true });
  const hosts = openHosts(apart === false);
  const redis = await startWatchedRedis(join(flags.out, 'logs', 'redis.log'));
  const outcomes: Outcome[] = [];
  let failed = false;
  try {
    for (const attack of attacks) {
      for (const implementation of implementations) {
        const participant = participants.get(implementation.id);
        const transport = { quic: 'quic-v1', tcp: 'tcp', ws: 'ws' }[attack.layer];
        const can = implementation.transports.includes(transport);
        // The matrix's default entry is used for TCP; for QUIC there is an entry for each engine.
        const twice = implementation.id === 'libp2p-lean-v0.1' && attack.layer === 'quic';
        if (participant === undefined || !can || twice) continue;
        if (attack.perf === true && !implementation.ours) continue;
        const what = `${attack.name} on ${implementation.id}`;
        try {
          const place = { hosts, redis, flags };
          const outcome = await attackOnce(place, implementation, participant, attack);
          outcomes.push(outcome);
          say(`${keeps(outcome) ? '✓' : '✗'} ${what}: ${JSON.stringify(outcome)}`);
        } catch (error) {
          say(`✗ ${what}: ${messageOf(error)}`);
          if (implementation.ours) failed = true;
        }
        writeFileSync(join(flags.out, 'hostile.json'), `${JSON.stringify(outcomes, null, 2)}\n`);
      }
    }
  } finally {
    await redis.stop();
    hosts.close();
  }
  const report = renderOutcomes(outcomes);
  writeFileSync(join(flags.out, 'hostile.md'), report);
  process.stdout.write(report);
  return !failed && outcomes.every((outcome) => !outcome.ours || keeps(outcome)) ? 0 : 1;
};

const ATTACK_NAMES = ATTACKS.map(({ name }) => name);
const program = createProgram(
  'hostile',
  'Hostile peers against a listener of every implementation.',
)
  .addOption(
    new Option('--implementations <names>', 'whose listeners; names with commas in between')
      .argParser(listOf(String))
      .default(DEFAULT_IMPLEMENTATIONS, DEFAULT_IMPLEMENTATIONS.join(',')),
  )
  .addOption(
    new Option('--attacks <names>', 'what is done to them; names with commas in between')
      .argParser(listOf(oneOf(ATTACK_NAMES)))
      .default(ATTACK_NAMES, 'all'),
  )
  .option('--seconds <n>', 'how long each attack lasts', positive, 10)
  // A QUIC connection that was dropped silently lasts 30 s.
  .option(
    '--warm-up <n>',
    'dials of the good client before anything is measured',
    whole(0, 10_000),
    200,
  )
  .option('--settle <n>', 'seconds that memory has to come down again', whole(0, 3600), 45)
  .option('--out <folder>', 'where the results go', join(ROOT, 'results', 'hostile'))
  .action(exitsWith(main));

await runProgram(program);
