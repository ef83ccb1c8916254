/**
 * `make bench`: the numbers of bench/README.md. Tables go to stdout and, with enough rounds, between
 * the markers of README.md; progress goes to stderr.
 *
 *     node bench/run.ts [--rounds 15] [start-up dial memory tcp tcp-scale]
 */

import { fileURLToPath } from 'node:url';
import { all, createProgram, oneOf, whole } from '../interop/command-line.ts';
import { dial } from './dial.ts';
import { memory } from './memory.ts';
import { startUp } from './start-up.ts';
import { print, record, type Section } from './support/report.ts';
import { tcp } from './tcp.ts';
import { tcpScale } from './tcp-scale.ts';

/** Results of fewer rounds are not recorded. */
const ENOUGH = 15;

const SECTIONS: Readonly<Record<string, (rounds: number) => Promise<Section>>> = {
  'start-up': startUp,
  dial,
  memory,
  tcp,
  'tcp-scale': tcpScale,
};

const NAMES = Object.keys(SECTIONS);
const program = createProgram('bench', 'The figures of bench/README.md.')
  .argument('[section...]', `what to measure: ${NAMES.join(', ')}`, all(oneOf(NAMES)))
  .option('--rounds <n>', 'how often; fewer than 15 are not recorded', whole(1, 1000), 15)
  .parse();
const { rounds } = program.opts<{ rounds: number }>();
const [names = []] = program.processedArgs as string[][];
const readme = fileURLToPath(new URL('README.md', import.meta.url));
for (const name of names.length === 0 ? NAMES : names) {
  const section = await SECTIONS[name]?.(rounds);
  if (section === undefined) continue;
  print(section);
  if (rounds >= ENOUGH) record(readme, section);
}
process.exit(0);
