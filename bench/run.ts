/**
 * `make bench`: the numbers of bench/README.md. Tables go to stdout and, with enough rounds, between
 * the markers of README.md; progress goes to stderr.
 *
 *     node bench/run.ts [--rounds 15] [start-up dial memory tcp tcp-scale]
 */

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
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

const { values, positionals } = parseArgs({
  options: { rounds: { type: 'string', default: '15' } },
  allowPositionals: true,
});
const rounds = Number(values.rounds);
const readme = fileURLToPath(new URL('README.md', import.meta.url));
for (const name of positionals.length === 0 ? Object.keys(SECTIONS) : positionals) {
  const measure = SECTIONS[name];
  if (measure === undefined) throw new Error(`no ${name}: ${Object.keys(SECTIONS).join(', ')}`);
  const section = await measure(rounds);
  print(section);
  if (rounds >= ENOUGH) record(readme, section);
}
process.exit(0);
