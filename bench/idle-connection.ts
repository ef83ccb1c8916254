/**
 * What an idle connection costs a node that listens with quinn and identifies its dialers: resident memory after
 * garbage collections and `malloc_trim`, between 100 connections and 1,000. `make build` first: the sources themselves
 * would leave what Node.js needs to strip their types in memory.
 *
 *     node bench/idle-connection.ts [--young]
 *
 * V8's young generation is kept at 1 MiB, as it grows with what is allocated, not with what is kept; `--young` lets it grow.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createProgram } from '../interop/command-line.ts';
import { type Command, end, lines, residentBytes, start } from './support/processes.ts';

const COUNTS = [100, 1000] as const;
/** Far beyond what a run takes; milliseconds. */
const IDLE_TIMEOUT = 900_000;
/** Milliseconds for the allocator's thread. */
const TRIM_TIME = 700;
/** Dials at a time. */
const PARALLEL = 8;

const built = (path: string): string =>
  fileURLToPath(new URL(`../dist/lib/${path}.js`, import.meta.url));
type Nodes = typeof import('../src/node/node.ts');
type Factories = typeof import('../src/transports/factories.ts');
type Identify = typeof import('../src/protocols/identify.ts');
type Binding = typeof import('../src/quic/quinn/binding.ts');

const makeNode = async () => {
  const { createNode } = (await import(built('node/node'))) as Nodes;
  const { quic } = (await import(built('transports/factories'))) as Factories;
  const limits = { idleTimeout: IDLE_TIMEOUT };
  return createNode({ transports: [quic({ engine: 'quinn' })], limits });
};

/** Prints its address, then a line for each line of stdin when its garbage is collected. */
const listen = async (): Promise<void> => {
  const { identify } = (await import(built('protocols/identify'))) as Identify;
  const { loadQuinn } = (await import(built('quic/quinn/binding'))) as Binding;
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const node = await makeNode();
  node.addEventListener('connection:open', ({ detail: { connection } }) => {
    identify(connection).catch((error) => console.error(error));
  });
  const { address } = await node.listen('/ip4/127.0.0.1/udp/0/quic-v1');
  console.log(`${address}`);
  process.stdin.on('data', async () => {
    for (let i = 0; i < 4; i++) {
      collect();
      await delay(100);
    }
    loadQuinn().trimMemory();
    await delay(TRIM_TIME);
    console.log('done');
  });
};

const measure = async (young: boolean): Promise<void> => {
  const flags = young ? [] : ['--max-semi-space-size=1'];
  const command: Command = {
    file: process.execPath,
    args: [...flags, fileURLToPath(import.meta.url), '--listen'],
  };
  const listener = start(command);
  const next = lines(listener, command);
  const address = await next();
  const resident = async (): Promise<number> => {
    listener.stdin?.write('collect\n');
    await next();
    return residentBytes(listener.pid ?? 0) / 1024;
  };
  const found: number[] = [];
  let dialed = 0;
  for (const count of COUNTS) {
    const some = async (): Promise<void> => {
      while (dialed++ < count) await (await makeNode()).dial(address);
    };
    await Promise.all(Array.from({ length: PARALLEL }, some));
    dialed = count;
    found.push(await resident());
  }
  const [few = 0, many = 0] = found;
  console.log(`${((many - few) / (COUNTS[1] - COUNTS[0])).toFixed(1)} KiB a connection`);
  await end(listener);
  process.exit(0);
};

const values = createProgram('idle-connection', 'What an idle connection costs a listener.')
  .option('--young', 'let the young generation grow', false)
  .option('--listen', 'be the listener', false)
  .parse()
  .opts<{ young: boolean; listen: boolean }>();
if (values.listen) await listen();
else await measure(values.young);
