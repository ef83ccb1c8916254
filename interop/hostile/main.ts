/**
 * `make hostile`: one set of attacks against a listener of every implementation. Says what a good client saw
 * meanwhile, and what the listener's memory was. docs/hostile.md is its manual.
 *
 * Exit codes: 0 done, and what is asked of ours held; 1 it did not; 2 a flag is wrong or something is missing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/errors.ts';
import { printable } from '../../src/printable.ts';
import { noRedis } from '../redis-server.ts';
import type { Participant } from '../runner/executors.ts';
import { type Implementation, readImages } from '../runner/images.ts';
import { ROOT, resolveParticipants } from '../runner/participants.ts';
import { type LocalRedis, startWatchedRedis } from '../runner/redis.ts';
import { ATTACKS, type Attack } from './attacks.ts';
import type { Sight } from './good-client.ts';
import { type Hosts, moveIn, openHosts } from './hosts.ts';
import { type Listener, startListener } from './listener.ts';
import { keeps, type Outcome, renderOutcomes, TOLERANCE } from './report.ts';

const DEFAULT_IMPLEMENTATIONS =
  'libp2p-lean-quinn,libp2p-lean-node,libp2p-lean-quiche,libp2p-lean-v0.1,go-v0.51,rust-v0.57,litep2p-v0.16,js-v3.x,py-v0.x';
const ATTACKER = fileURLToPath(new URL('attacker.ts', import.meta.url));
const GOOD_CLIENT = fileURLToPath(new URL('good-client.ts', import.meta.url));
const START_TIMEOUT = 60_000;
const SAMPLE_EVERY = 100;
/** What an attacker says that has not begun. */
const NOTHING = '{}';

const { values } = parseArgs({
  options: {
    implementations: { type: 'string', default: DEFAULT_IMPLEMENTATIONS },
    attacks: { type: 'string', default: ATTACKS.map(({ name }) => name).join(',') },
    seconds: { type: 'string', default: '10' },
    // A QUIC connection that was dropped silently lasts 30 s.
    settle: { type: 'string', default: '45' },
    out: { type: 'string', default: join(ROOT, 'results', 'hostile') },
  },
});

const say = (line: string): void => void process.stderr.write(`${printable(line, 500)}\n`);

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

/** What a child says, line by line. */
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
  readonly out: string;
}

const attackOnce = async (
  { hosts, redis, out }: Place,
  implementation: Implementation,
  participant: Participant,
  attack: Attack,
): Promise<Outcome> => {
  const { id, ours } = implementation;
  const key = `${id}-${attack.name}`;
  const listener = await startListener({
    ...{ implementation, participant, layer: attack.layer, listenerIp: hosts.listenerIp },
    ...{ redis, key, log: join(out, 'logs', key, 'listener.log') },
  });
  let ended = false;
  listener.child.exited.then(() => {
    ended = true;
  });
  const good = spawnOn(hosts.good, node(GOOD_CLIENT, listener.multiaddr), 0);
  const attacker: { child?: ChildProcess } = {};
  try {
    const said = linesOf(good);
    const seen = async (): Promise<Sight> => {
      good.stdin?.write('?\n');
      return JSON.parse(await said()) as Sight;
    };
    await said();
    good.stdin?.write('go\n');
    // Three pings and dials on top of the warming up.
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
        until = performance.now() + 1_000 * Number(values.seconds);
      }
      peak = Math.max(peak, listener.memory());
      await delay(SAMPLE_EVERY);
    }
    if (!begun && !ended) throw new Error('the attack did nothing');
    const during = await seen();
    attacker.child.kill('SIGKILL');
    const settled = performance.now() + 1_000 * Number(values.settle);
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

const main = async (): Promise<number> => {
  if (noRedis !== false) {
    say(noRedis);
    return 2;
  }
  const images = await readImages(join(ROOT, 'interop', 'images.yaml'));
  const ids = values.implementations.split(',');
  const attacks = values.attacks.split(',').map((name) => ATTACKS.find((one) => one.name === name));
  const unknown = ids.find((id) => !images.implementations.some((one) => one.id === id));
  if (
    unknown !== undefined ||
    attacks.includes(undefined) ||
    !(Number(values.seconds) > 0 && Number(values.settle) >= 0)
  ) {
    say('unknown implementation or attack, or seconds that are no number; see docs/hostile.md');
    return 2;
  }
  const implementations = images.implementations.filter(({ id }) => ids.includes(id));
  // Built before there is no way out any more.
  const { participants, skipped } = await resolveParticipants(
    implementations,
    'process',
    'unified',
  );
  const apart = moveIn();
  if (apart === 'moved') return await new Promise(() => {});
  for (const [id, why] of skipped) say(`skipped ${id}: ${why}`);
  if (apart !== false) say(`all on loopback, where hosts have no limits of their own: ${apart}`);
  rmSync(values.out, { recursive: true, force: true });
  mkdirSync(join(values.out, 'logs'), { recursive: true });
  const hosts = openHosts(apart === false);
  const redis = await startWatchedRedis(join(values.out, 'logs', 'redis.log'));
  const outcomes: Outcome[] = [];
  try {
    for (const attack of attacks) {
      if (attack === undefined) continue;
      for (const implementation of implementations) {
        const participant = participants.get(implementation.id);
        const transport = { quic: 'quic-v1', tcp: 'tcp', ws: 'ws' }[attack.layer];
        const can = implementation.transports.includes(transport);
        // The matrix's own entry stands for TCP; each engine has one for QUIC.
        const twice = implementation.id === 'libp2p-lean-v0.1' && attack.layer === 'quic';
        if (participant === undefined || !can || twice) continue;
        if (attack.perf === true && !implementation.ours) continue;
        const what = `${attack.name} on ${implementation.id}`;
        try {
          const place = { hosts, redis, out: values.out };
          const outcome = await attackOnce(place, implementation, participant, attack);
          outcomes.push(outcome);
          say(`${keeps(outcome) ? '✓' : '✗'} ${what}: ${JSON.stringify(outcome)}`);
        } catch (error) {
          say(`✗ ${what}: ${messageOf(error)}`);
          if (implementation.ours) process.exitCode = 1;
        }
        writeFileSync(join(values.out, 'hostile.json'), `${JSON.stringify(outcomes, null, 2)}\n`);
      }
    }
  } finally {
    await redis.stop();
    hosts.close();
  }
  const report = renderOutcomes(outcomes);
  writeFileSync(join(values.out, 'hostile.md'), report);
  process.stdout.write(report);
  return outcomes.every((outcome) => !outcome.ours || keeps(outcome)) ? 0 : 1;
};

process.exitCode = Math.max(await main(), Number(process.exitCode ?? 0));
