/**
 * test-plans' gossipsub-interop on this machine: nodes of several implementations in network namespaces, one
 * script for all, and how often each node received each message. docs/matrix.md is its manual. Needs root.
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
import { Option } from 'commander';
import { buildPeers } from './build-peers.ts';
import { createProgram, exitsWith, oneOf, runProgram, say, whole } from './command-line.ts';
import { type Deliveries, deliveriesOf } from './gossipsub/deliveries.ts';
import { MAX_HOSTS, makeHosts } from './gossipsub/laboratory.ts';
import { type Experiment, scriptOf } from './gossipsub/script.ts';
import { isInside, lackOfLaboratory, runInside } from './nat/isolate.ts';
import { MatrixError } from './runner/error.ts';
import { packageOf } from './runner/package.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** A node that still runs this long after the end of its script is killed, ms. */
const GRACE_MS = 30_000;
const DEFAULT_COMPOSITIONS = 'go lean rust go+lean+rust';

interface Flags {
  /** For each composition, its implementations; nodes are assigned to them in turn. */
  readonly compositions: readonly (readonly string[])[];
  readonly experiment: Experiment;
  readonly transport: string;
  readonly out: string;
}

const PEERS: Readonly<Record<string, string>> = {
  go: 'gossipsub-go-v0.15',
  rust: 'gossipsub-rust-v0.57',
};

/** `go go+lean` → `[['go'], ['go', 'lean']]` */
const compositionsOf = (text: string): string[][] =>
  text
    .split(' ')
    .filter((composition) => composition !== '')
    .map((composition) => composition.split('+').map(oneOf(['lean', ...Object.keys(PEERS)])));

type Commands = Readonly<Record<string, readonly string[]>>;

/** The command of each implementation. They are built outside the namespaces: inside there is no internet. */
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

/** Runs one composition; resolves to a row for each of its implementations, and a line for each thing that went wrong. */
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

interface Options {
  readonly compositions: string[][];
  readonly nodes: number;
  readonly degree: number;
  readonly messages: number;
  readonly size: number;
  readonly transport: string;
  readonly seed: number;
  readonly out: string;
}

const main = async (options: Options): Promise<number> => {
  const { compositions, nodes, degree, messages, size, seed, transport } = options;
  if (compositions.length === 0) throw new MatrixError('--compositions names none');
  const timing = { settleSecs: 30, pauseSecs: 1, endSecs: 8 };
  const experiment = { nodes, degree, messages, messageSizeBytes: size, seed, ...timing };
  if (isInside()) return inside({ compositions, experiment, transport, out: resolve(options.out) });
  const lack = lackOfLaboratory();
  if (lack !== undefined) throw new MatrixError(lack);
  const commands = await commandsOf(new Set(compositions.flat()));
  process.env[COMMANDS] = JSON.stringify(commands);
  return runInside(fileURLToPath(import.meta.url), process.argv.slice(2));
};

const program = createProgram(
  'gossipsub',
  "test-plans' gossipsub-interop: who received which message how often.",
)
  .addOption(
    new Option('--compositions <list>', "of each experiment's nodes, with spaces in between")
      .argParser(compositionsOf)
      .default(compositionsOf(DEFAULT_COMPOSITIONS), DEFAULT_COMPOSITIONS),
  )
  .option('--nodes <n>', 'nodes of an experiment', whole(2, MAX_HOSTS), 10)
  .option('--degree <n>', 'nodes that each dials', whole(1, MAX_HOSTS), 4)
  .option('--messages <n>', 'messages that are published', whole(1, 10_000), 20)
  .option('--size <bytes>', 'of a message', whole(8, 10 << 20), 1024)
  .option('--transport <name>', 'tcp or quic-v1', oneOf(['tcp', 'quic-v1']), 'tcp')
  .option('--seed <n>', 'decides who dials whom', whole(0, 2 ** 31), 1)
  .option('--out <folder>', 'where the results go', join(ROOT, 'results', 'gossipsub'))
  .action(exitsWith(main));

await runProgram(program);
