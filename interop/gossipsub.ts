/**
 * test-plans' gossipsub-interop on this machine: nodes of several implementations in network namespaces, one
 * script for all, and who received what how often. docs/matrix.md is its manual. Needs root.
 *
 * Exit codes: 0 every message reached every node, in every composition; 1 one did not; 2 a flag is wrong or
 * something is missing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from '../src/errors.ts';
import { buildPeers } from './build-peers.ts';
import { type Deliveries, deliveriesOf } from './gossipsub/deliveries.ts';
import { MAX_HOSTS, makeHosts } from './gossipsub/laboratory.ts';
import { type Experiment, scriptOf } from './gossipsub/script.ts';
import { isInside, lackOfLaboratory, runInside } from './nat/isolate.ts';
import { packageOf } from './runner/package.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** A node that has not ended so long after its script is killed, ms. */
const GRACE_MS = 30_000;

const OPTIONS = {
  /** `go,lean go+lean`: compositions, by spaces; the nodes of one take turns. */
  compositions: { type: 'string', default: 'go lean rust go+lean+rust' },
  nodes: { type: 'string', default: '10' },
  degree: { type: 'string', default: '4' },
  messages: { type: 'string', default: '20' },
  size: { type: 'string', default: '1024' },
  transport: { type: 'string', default: 'tcp' },
  seed: { type: 'string', default: '1' },
  out: { type: 'string', default: join(ROOT, 'results', 'gossipsub') },
} as const;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

class Usage extends Error {}

const whole = (name: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new Usage(`--${name} must be a whole number from ${min} to ${max}`);
  }
  return value;
};

interface Flags {
  readonly compositions: readonly (readonly string[])[];
  readonly experiment: Experiment;
  readonly transport: string;
  readonly out: string;
}

const PEERS: Readonly<Record<string, string>> = {
  go: 'gossipsub-go-v0.15',
  rust: 'gossipsub-rust-v0.57',
};

const readFlags = (): Flags => {
  const { values } = parseArgs({ options: OPTIONS });
  const compositions = values.compositions
    .split(' ')
    .filter((text) => text !== '')
    .map((text) => text.split('+'));
  const unknown = compositions.flat().find((name) => name !== 'lean' && !(name in PEERS));
  if (unknown !== undefined || compositions.length === 0) {
    throw new Usage(`--compositions: ${unknown ?? 'none'}; there are lean, ${Object.keys(PEERS)}`);
  }
  if (values.transport !== 'tcp' && values.transport !== 'quic-v1') {
    throw new Usage('--transport must be tcp or quic-v1');
  }
  return {
    compositions,
    transport: values.transport,
    out: resolve(values.out),
    experiment: {
      nodes: whole('nodes', values.nodes, 2, MAX_HOSTS),
      degree: whole('degree', values.degree, 1, MAX_HOSTS),
      messages: whole('messages', values.messages, 1, 10_000),
      messageSizeBytes: whole('size', values.size, 8, 10 << 20),
      settleSecs: 30,
      pauseSecs: 1,
      endSecs: 8,
      seed: whole('seed', values.seed, 0, 2 ** 31),
    },
  };
};

type Commands = Readonly<Record<string, readonly string[]>>;

/** How each implementation is run. Built outside: inside there is no network. */
const commandsOf = async (names: ReadonlySet<string>): Promise<Commands> => {
  const commands: Record<string, readonly string[]> = {};
  if (names.has('lean')) {
    const { root } = await packageOf(ROOT);
    commands.lean = [process.execPath, join(root, 'bin/libp2p-lean'), 'gossipsub-interop'];
  }
  const ids = [...names].flatMap((name) => PEERS[name] ?? []);
  for (const peer of ids.length === 0 ? [] : await buildPeers(ids)) {
    const name = Object.keys(PEERS).find((one) => PEERS[one] === peer.id) ?? '';
    if ('command' in peer) commands[name] = peer.command;
  }
  return commands;
};

interface Row {
  readonly composition: string;
  readonly implementation: string;
  readonly nodes: number;
  readonly delivered: number;
  readonly expected: number;
  /** Per node and message. */
  readonly duplicates: number;
}

/** Runs one composition; resolves to a row for each implementation in it, and what went wrong, in lines. */
const runComposition = async (
  composition: readonly string[],
  commands: Commands,
  on: (host: number, command: readonly string[]) => string[],
  { experiment, transport, out }: Flags,
): Promise<{ rows: Row[]; wrong: string[] }> => {
  const name = composition.join('+');
  const folder = join(out, 'logs', name);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const params = join(folder, 'params.json');
  await writeFile(params, JSON.stringify(scriptOf(experiment)));
  const { nodes, messages, settleSecs, pauseSecs, endSecs } = experiment;
  const lasts = (settleSecs + messages * pauseSecs + endSecs) * 1000 + GRACE_MS;
  const wrong: string[] = [];
  const implementations = Array.from(
    { length: nodes },
    (_, node) => composition[node % composition.length] ?? '',
  );
  await Promise.all(
    implementations.map(async (implementation, node) => {
      const words = [...(commands[implementation] ?? []), '--params', params];
      const [file = '', ...rest] = on(node, [...words, '--transport', transport]);
      const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'], timeout: lasts });
      for (const [stream, end] of [
        [child.stdout, 'stdout'],
        [child.stderr, 'stderr'],
      ] as const) {
        stream.pipe(createWriteStream(join(folder, `node${node}.${end}`)));
      }
      const [code, signal] = await once(child, 'close');
      if (code !== 0)
        wrong.push(`${name}: node${node} (${implementation}) ended with ${code ?? signal}`);
    }),
  );
  const all = new Set(Array.from({ length: messages }, (_, id) => `${id}`));
  const found = await Promise.all(
    implementations.map(async (implementation, node) => {
      const own = new Set([...all].filter((id) => Number(id) % nodes === node));
      const text = await readFile(join(folder, `node${node}.stdout`), 'utf8');
      return { implementation, node, ...deliveriesOf(text, own, all) };
    }),
  );
  for (const { node, implementation, delivered, expected, strange } of found) {
    if (delivered < expected) {
      wrong.push(
        `${name}: node${node} (${implementation}) got ${delivered} of ${expected} messages`,
      );
    }
    if (strange.length > 0) wrong.push(`${name}: node${node} got what nobody sent`);
  }
  const sum = (rows: readonly Deliveries[], pick: (one: Deliveries) => number) =>
    rows.reduce((total, one) => total + pick(one), 0);
  const rows = [...new Set(implementations)].map((implementation): Row => {
    const of = found.filter((one) => one.implementation === implementation);
    return {
      composition: name,
      implementation,
      nodes: of.length,
      delivered: sum(of, ({ delivered }) => delivered),
      expected: sum(of, ({ expected }) => expected),
      duplicates: sum(of, ({ duplicates }) => duplicates) / (of.length * messages),
    };
  });
  return { rows, wrong };
};

const tableOf = (rows: readonly Row[]): string =>
  [
    '| composition | implementation | nodes | delivered | duplicates per node and message |',
    '|---|---|---:|---:|---:|',
    ...rows.map(
      (row) =>
        `| ${row.composition} | ${row.implementation} | ${row.nodes} | ${row.delivered} of ${row.expected} | ${row.duplicates.toFixed(2)} |`,
    ),
  ].join('\n');

const COMMANDS = 'LIBP2P_LEAN_GOSSIPSUB_COMMANDS';

const inside = async (flags: Flags): Promise<number> => {
  const commands = JSON.parse(process.env[COMMANDS] ?? '{}') as Commands;
  const on = await makeHosts(flags.experiment.nodes);
  const rows: Row[] = [];
  const wrong: string[] = [];
  for (const composition of flags.compositions) {
    const missing = composition.find((name) => commands[name] === undefined);
    if (missing !== undefined) {
      say(`skipped ${composition.join('+')}: there is no ${missing} here`);
      continue;
    }
    say(`${composition.join('+')}: ${flags.experiment.nodes} nodes over ${flags.transport}`);
    const result = await runComposition(composition, commands, on, flags);
    rows.push(...result.rows);
    wrong.push(...result.wrong);
  }
  const table = tableOf(rows);
  await writeFile(join(flags.out, `${flags.transport}.md`), `${table}\n`);
  process.stdout.write(`${[table, ...wrong].join('\n')}\n`);
  return wrong.length === 0 && rows.length > 0 ? 0 : 1;
};

try {
  const flags = readFlags();
  if (isInside()) process.exitCode = await inside(flags);
  else {
    const lack = lackOfLaboratory();
    if (lack !== undefined) throw new Usage(lack);
    const commands = await commandsOf(new Set(flags.compositions.flat()));
    process.env[COMMANDS] = JSON.stringify(commands);
    process.exitCode = await runInside(fileURLToPath(import.meta.url), process.argv.slice(2));
  }
} catch (error) {
  say(`gossipsub: ${messageOf(error)}`);
  process.exitCode = 2;
}
