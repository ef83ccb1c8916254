/**
 * Fuzzes the parsers that bytes from the network or Redis reach:
 *
 *     node fuzz/fuzz.ts [--seconds 60] [--executions n] [--jobs 2] [--seed n] [--update] [target...]
 *
 * Prints a line for each target; exits 1 when one of them does what no input may make it do, with the input
 * in base64, for fuzz/regressions/<target>.txt. `--update` adds to fuzz/corpus/ what reached new code.
 */

import { all, createProgram, oneOf, whole } from '../interop/command-line.ts';
import { corpusFile, writeCorpus } from './runner/corpus.ts';
import { type RunResult, runTarget } from './runner/run-target.ts';
import { TARGETS, type TargetName } from './runner/target.ts';

interface Flags {
  readonly seconds?: number;
  readonly executions?: number;
  readonly jobs: number;
  readonly seed?: number;
  readonly update: boolean;
}

/** As `Infinity`, but it can be printed and divided by. */
const ENDLESS = Number.MAX_SAFE_INTEGER;

const counted = whole(0, Number.MAX_SAFE_INTEGER);
const program = createProgram(
  'fuzz',
  'Fuzzes the parsers that bytes from the network or Redis reach.',
)
  .argument('[target...]', `which of them: ${TARGETS.join(', ')}`, all(oneOf(TARGETS)))
  .option('--seconds <n>', 'for each target (default: 60, without --executions)', counted)
  .option('--executions <n>', 'of each target', counted)
  .option('--jobs <n>', 'targets at a time', whole(1, 256), 2)
  .option('--seed <n>', 'decides how inputs are changed (default: the time)', counted)
  .option('--update', 'add to fuzz/corpus/ what reached new code', false)
  .parse();
const values = program.opts<Flags>();
const [names = []] = program.processedArgs as TargetName[][];
const { jobs, seed = Date.now() % 2 ** 31, executions = ENDLESS } = values;
const seconds = values.seconds ?? (values.executions === undefined ? 60 : undefined);
const time = seconds === undefined ? ENDLESS : 1000 * seconds;

const report = (name: TargetName, result: RunResult): void => {
  const { executions, seconds, places, corpus, growth, finding } = result;
  console.log(
    [
      name.padEnd(21),
      `${executions} executions`,
      `${Math.round(executions / seconds)}/s`,
      `${places} places`,
      `corpus ${corpus.length}`,
      `memory ${growth.toFixed(2)} bytes/execution`,
      finding === undefined ? 'ok' : `FOUND: ${finding.kind}`,
    ].join('  '),
  );
  if (finding === undefined) return;
  console.log(`  ${finding.message.replaceAll('\n', '\n  ')}`);
  console.log(`  input: ${Buffer.from(finding.input).toString('base64')}  (--seed ${seed})`);
};

const queue = names.length === 0 ? [...TARGETS] : names;
let found = false;
const work = async (): Promise<void> => {
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    const result = await runTarget(name, { seed, executions, time });
    report(name, result);
    if (result.finding !== undefined) found = true;
    else if (values.update) writeCorpus(corpusFile(name), result.corpus);
  }
};
await Promise.all(Array.from({ length: jobs }, work));
process.exit(found ? 1 : 0);
