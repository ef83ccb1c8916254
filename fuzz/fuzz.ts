/**
 * Fuzzes the parsers that bytes from the network or Redis reach:
 *
 *     node fuzz/fuzz.ts [--seconds 60] [--executions n] [--jobs 2] [--seed n] [--update] [target...]
 *
 * Prints a line for each target; exits 1 when one of them does what no input may make it do, with the input
 * in base64, for fuzz/regressions/<target>.txt. `--update` adds to fuzz/corpus/ what reached new code.
 */

import { parseArgs } from 'node:util';
import { corpusFile, writeCorpus } from './runner/corpus.ts';
import { type RunResult, runTarget } from './runner/run-target.ts';
import { TARGETS, type TargetName } from './runner/target.ts';

/** As `Infinity`, but it can be printed and divided by. */
const ENDLESS = Number.MAX_SAFE_INTEGER;

const fail = (message: string): never => {
  console.error(`fuzz: ${message}`);
  process.exit(2);
};

const numberOf = (name: string, text: string): number => {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0
    ? value
    : fail(`--${name} must be a whole number`);
};

const options = (() => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        seconds: { type: 'string' },
        executions: { type: 'string' },
        jobs: { type: 'string', default: '2' },
        seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
        update: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    return fail((error as Error).message);
  }
})();

const { values, positionals } = options;
const isTarget = (name: string): name is TargetName => TARGETS.some((it) => it === name);
const names = positionals.map((name) =>
  isTarget(name) ? name : fail(`there is no target ${name}; these are: ${TARGETS.join(', ')}`),
);
const seed = numberOf('seed', values.seed);
const executions =
  values.executions === undefined ? ENDLESS : numberOf('executions', values.executions);
const seconds = values.seconds ?? (values.executions === undefined ? '60' : undefined);
const time = seconds === undefined ? ENDLESS : 1000 * numberOf('seconds', seconds);

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
await Promise.all(Array.from({ length: Math.max(1, numberOf('jobs', values.jobs)) }, work));
process.exit(found ? 1 : 0);
