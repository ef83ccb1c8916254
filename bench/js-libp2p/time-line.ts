/**
 * Where the time of a warm dial with a byte there and back goes under js-libp2p, step by step and on both sides: over
 * libp2p-lean/js-libp2p, and over @chainsafe/libp2p-quic. Steps are told apart by what js-libp2p logs: the nodes
 * have loggers that note when each line came, and print nothing. The tables go to stdout.
 *
 *     node bench/js-libp2p/time-line.ts [--dials 100] [--warm-up 50] [lean|chainsafe ...]
 *
 * `--first 15`: the same of the first dial of a process to a process that nobody has dialled, 15 new pairs for each stack.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { ComponentLogger, Logger } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { all, createProgram, oneOf, whole } from '../../interop/command-line.ts';
import { median } from '../support/statistics.ts';
import { ECHO, type JsBenchNode, startJsNode } from './stacks.ts';

type Stack = Parameters<typeof startJsNode>[0];
/** When, in milliseconds of the machine's monotonic clock, and the line that was logged. */
type Mark = readonly [at: number, line: string];

const STACKS: readonly Stack[] = ['lean', 'chainsafe'];
const FILE = fileURLToPath(import.meta.url);
/** A child that does not answer for so long has failed; milliseconds. */
const ANSWER_TIMEOUT = 60_000;
const ONE = Uint8Array.of(1);

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

interface Recorder {
  readonly logger: ComponentLogger;
  readonly marks: Mark[];
}

const createRecorder = (): Recorder => {
  const marks: Mark[] = [];
  const note = (line: unknown): void => void marks.push([now(), String(line)]);
  const log: Logger = Object.assign(note, {
    error: note,
    trace: note,
    enabled: false,
    newScope: () => log,
  });
  return { marks, logger: { forComponent: () => log } };
};

// ── The two sides ──────────────────────────────────────────────────────────────────────────────

/** Told `marks`, it sends what it noted since it was told so last. */
const listen = async (stack: Stack): Promise<void> => {
  const { logger, marks } = createRecorder();
  const { node, address } = await startJsNode(stack, logger);
  await node.unhandle(ECHO);
  await node.handle(ECHO, (stream) => {
    marks.push([now(), 'handler']);
    stream.addEventListener('message', ({ data }) => {
      marks.push([now(), 'byte']);
      stream.send(data);
    });
    stream.addEventListener('remoteCloseWrite', () => void stream.close());
  });
  process.on('message', () => process.send?.(marks.splice(0)));
  process.on('disconnect', () => process.exit(0));
  process.send?.(address);
};

/** Told an address, it dials that, and sends what it noted. */
const dial = async (stack: Stack): Promise<void> => {
  const { logger, marks } = createRecorder();
  const bench = await startJsNode(stack, logger);
  process.on('message', (address: string) => {
    dialOnce(bench, address, marks).then(
      () => process.send?.(marks.splice(0)),
      (error) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
};

/** One dial with a byte there and back. */
const dialOnce = async ({ node }: JsBenchNode, address: string, marks: Mark[]): Promise<void> => {
  marks.push([now(), 'start']);
  const connection = await node.dial(multiaddr(address), { force: true });
  marks.push([now(), 'dialled']);
  const stream = await connection.newStream(ECHO);
  marks.push([now(), 'stream']);
  const answer = once(stream, 'message');
  stream.send(ONE);
  marks.push([now(), 'sent']);
  await answer;
  marks.push([now(), 'echoed']);
  await stream.close();
  await connection.close();
};

// ── What is looked for ─────────────────────────────────────────────────────────────────────────

/** A step ends with the first such line after the step before. */
type Step = readonly [name: string, end: RegExp];

const DIALER: readonly Step[] = [
  ['`dial()`: dial queue, addresses, choice of the transport', /^dialing/],
  ['transport: QUIC handshake, certificate, peer id', /^starting the %s connection upgrade/],
  ['upgrader, until the connection is announced', /^successfully upgraded connection/],
  ['peer store, dial queue, until `dial()` resolves', /^dialled$/],
  ['`newStream()`: a QUIC stream', /^started new stream/],
  ['multistream-select', /^(pre-)?negotiated protocol/],
  ['peer store, until `newStream()` resolves', /^stream$/],
  ['`send()`', /^sent$/],
  ['the byte there and back', /^echoed$/],
];
const LISTENER: readonly Step[] = [
  ['connection handed up by the transport', /^starting the %s connection upgrade/],
  ['upgrader', /^successfully upgraded connection/],
  ['until a stream is there', /^start protocol negotiation/],
  ['multistream-select', /^(pre-)?negotiated protocol/],
  ['peer store, until the handler is called', /^handler$/],
  ['until the byte is there', /^byte$/],
];

/** Milliseconds that each step took; `undefined` where a line is missing. */
const stepsOf = (
  start: number,
  marks: readonly Mark[],
  steps: readonly Step[],
): number[] | undefined => {
  const times: number[] = [];
  let [at, index] = [start, 0];
  for (const [, end] of steps) {
    while (index < marks.length && !end.test(marks[index]?.[1] ?? '')) index++;
    const mark = marks[index];
    if (mark === undefined) return undefined;
    times.push(mark[0] - at);
    at = mark[0];
  }
  return times;
};

interface TimeLine {
  readonly dialer: readonly number[];
  readonly listener: readonly number[];
  readonly total: number;
}

interface Child extends Disposable {
  /** The next message that it sends. */
  next<T>(): Promise<T>;
  send(message: string): void;
}

const startChild = (role: 'listen' | 'dial', stack: Stack): Child => {
  const child: ChildProcess = fork(FILE, [`--${role}`, stack], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  return {
    next: async <T>(): Promise<T> => {
      const [value] = await once(child, 'message', { signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
      return value as T;
    },
    send: (message) => void child.send(message),
    [Symbol.dispose]: () => child.disconnect(),
  };
};

interface Steps {
  readonly dialer: readonly number[];
  readonly listener: readonly number[];
}

/** @throws when a step of the dial that began with `near` has no line. */
const stepsOfDial = (stack: Stack, near: readonly Mark[], far: readonly Mark[]): Steps => {
  const start = near.find(([, line]) => line === 'start')?.[0] ?? Number.NaN;
  const dialer = stepsOf(start, near, DIALER);
  const listener = stepsOf(
    start,
    far.filter(([at]) => at >= start),
    LISTENER,
  );
  if (dialer !== undefined && listener !== undefined) return { dialer, listener };
  throw new Error(`${stack}: js-libp2p did not log a line that a step ends with`);
};

const timeLineOf = (all: readonly Steps[]): TimeLine => {
  const medians = (side: 'dialer' | 'listener', steps: readonly Step[]): number[] =>
    steps.map((_, step) => median(all.map((it) => it[side][step] ?? Number.NaN)));
  return {
    dialer: medians('dialer', DIALER),
    listener: medians('listener', LISTENER),
    total: median(all.map((it) => it.dialer.reduce((sum, time) => sum + time, 0))),
  };
};

/** Of warm dials of this process to one listener. */
const measure = async (stack: Stack, warmUp: number, dials: number): Promise<TimeLine> => {
  using listener = startChild('listen', stack);
  const address = await listener.next<string>();
  const { logger, marks } = createRecorder();
  const bench = await startJsNode(stack, logger);
  const all: Steps[] = [];
  for (let i = 0; i < warmUp + dials; i++) {
    await dialOnce(bench, address, marks);
    const near = marks.splice(0);
    const far = listener.next<Mark[]>();
    listener.send('marks');
    const steps = stepsOfDial(stack, near, await far);
    if (i >= warmUp) all.push(steps);
  }
  return timeLineOf(all);
};

/** The first dial of a new process to a new one. */
const measureFirst = async (stack: Stack): Promise<Steps> => {
  using listener = startChild('listen', stack);
  const address = await listener.next<string>();
  using dialer = startChild('dial', stack);
  await dialer.next();
  const near = dialer.next<Mark[]>();
  dialer.send(address);
  const marks = await near;
  const far = listener.next<Mark[]>();
  listener.send('marks');
  return stepsOfDial(stack, marks, await far);
};

const table = (side: 'dialer' | 'listener', steps: readonly Step[], lines: TimeLine[]): void => {
  console.log(`| ${side}, ms | ${chosen.join(' | ')} |\n|---|${'---:|'.repeat(chosen.length)}`);
  for (const [i, [name]] of steps.entries()) {
    console.log(`| ${name} | ${lines.map((it) => it[side][i]?.toFixed(2)).join(' | ')} |`);
  }
  if (side === 'dialer') {
    console.log(`| **total** | ${lines.map((it) => it.total.toFixed(2)).join(' | ')} |`);
  }
  console.log();
};

const program = createProgram('time-line', 'Where the time of a dial under js-libp2p goes.')
  .argument('[stack...]', `what to measure: ${STACKS.join(', ')}`, all(oneOf(STACKS)))
  .option('--dials <n>', 'that are measured', whole(1, 100_000), 100)
  .option('--warm-up <n>', 'dials before them', whole(0, 100_000), 50)
  .option(
    '--first <n>',
    'pairs of new processes, of which the first dial is measured',
    whole(1, 1_000),
  )
  .option('--listen', 'be the other side')
  .option('--dial', 'be a dialer of --first')
  .parse();
const options = program.opts<{
  dials: number;
  warmUp: number;
  first?: number;
  listen?: boolean;
  dial?: boolean;
}>();
const [named = []] = program.processedArgs as Stack[][];
const chosen = STACKS.filter((it) => named.length === 0 || named.includes(it));
if (options.listen) {
  await listen(chosen[0] as Stack);
} else if (options.dial) {
  await dial(chosen[0] as Stack);
} else {
  const lines: TimeLine[] = [];
  if (options.first === undefined) {
    for (const stack of chosen) {
      process.stderr.write(`${stack}\n`);
      lines.push(await measure(stack, options.warmUp, options.dials));
    }
  } else {
    const all = new Map<Stack, Steps[]>(chosen.map((it) => [it, []]));
    for (let i = 0; i < options.first; i++) {
      for (const stack of chosen) all.get(stack)?.push(await measureFirst(stack));
    }
    lines.push(...[...all.values()].map(timeLineOf));
  }
  table('dialer', DIALER, lines);
  table('listener', LISTENER, lines);
  process.exit(0);
}
