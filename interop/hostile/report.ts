/** The results of the attacks, as tables. */
import { ATTACKS } from './attacks.ts';
import type { Sight } from './good-client.ts';

export interface Outcome {
  readonly implementation: string;
  readonly ours: boolean;
  readonly attack: string;
  /** What the attacker reported. */
  readonly did: Readonly<Record<string, number>>;
  /** Resident memory, bytes. */
  readonly before: number;
  readonly peak: number;
  readonly after: number;
  /** What a good client saw while it lasted, and after. */
  readonly during: Sight;
  readonly afterwards: Sight;
  /** Whether the process was still there. */
  readonly alive: boolean;
  readonly logBytes: number;
  readonly logLines: number;
  readonly lastLog: string | null;
}

/** Memory afterwards may be this many times the memory before. */
export const TOLERANCE = 1.2;
const MIB = 1 << 20;

/** Whether the listener kept what is required of ours. */
export const keeps = ({ alive, during, afterwards, before, after }: Outcome): boolean =>
  alive &&
  [during, afterwards].every(({ pingsLost, dialsFailed }) => pingsLost + dialsFailed === 0) &&
  after <= before * TOLERANCE;

const mib = (bytes: number): string => (bytes / MIB).toFixed(0);
const lostOf = ({ pings, pingsLost, dials, dialsFailed }: Sight): string =>
  pingsLost + dialsFailed === 0
    ? '0'
    : `**${pingsLost} of ${pings} pings, ${dialsFailed} of ${dials} dials**`;

/** `1 of 9 pings, 2 of 8 dials lost`, or an empty text. */
const lossesIn = ({ pings, pingsLost, dials, dialsFailed }: Sight): string => {
  const losses = [];
  if (pingsLost > 0) losses.push(`${pingsLost} of ${pings} pings`);
  if (dialsFailed > 0) losses.push(`${dialsFailed} of ${dials} dials`);
  return losses.length === 0 ? '' : `${losses.join(', ')} lost`;
};

const cellOf = (outcome: Outcome): string => {
  const { alive, before, peak, after, during, afterwards } = outcome;
  const cell = [`${mib(before)}, ${mib(peak)}, ${mib(after)}`, during.worstPing.toFixed(0)];
  const [lost, lostAfterwards] = [lossesIn(during), lossesIn(afterwards)];
  if (lost !== '') cell.push(`**${lost}**`);
  if (lostAfterwards !== '') cell.push(`**afterwards ${lostAfterwards}**`);
  if (!alive) cell.push('**it ended**');
  return cell.join('; ');
};

/** All in one table: memory before, at the peak and after, MiB; the slowest ping, ms; what was lost. */
const renderSummary = (outcomes: readonly Outcome[]): string => {
  const listeners = [...new Set(outcomes.map(({ implementation }) => implementation))];
  const lines = [`| | ${listeners.join(' | ')} |`, `|---|${'---|'.repeat(listeners.length)}`];
  for (const { name } of ATTACKS) {
    const row = outcomes.filter(({ attack }) => attack === name);
    if (row.length === 0) continue;
    const cells = listeners.map((listener) => {
      const outcome = row.find(({ implementation }) => implementation === listener);
      return outcome === undefined ? '' : cellOf(outcome);
    });
    lines.push(`| \`${name}\` | ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
};

/** A table of all, then one table for each attack. */
export const renderOutcomes = (outcomes: readonly Outcome[]): string => {
  const lines: string[] = [renderSummary(outcomes), ''];
  for (const { name, summary } of ATTACKS) {
    const rows = outcomes.filter(({ attack }) => attack === name);
    if (rows.length === 0) continue;
    lines.push(
      ...[`### ${name}: ${summary}`, ''],
      '| listener | lost | worst ping, dial, ms | memory before, peak, after, MiB | log lines | |',
      '|---|---|---|---|---|---|',
    );
    for (const row of rows) {
      const { during, before, peak, after } = row;
      const worst = `${during.worstPing.toFixed(0)}, ${during.worstDial.toFixed(0)}`;
      const memory = `${mib(before)}, ${mib(peak)}, ${mib(after)}`;
      const did = Object.entries(row.did)
        .filter(([what]) => what !== 'finished')
        .map(([what, count]) => `${count} ${what}`);
      const fate = row.alive ? did.join(', ') : `**died**; ${did.join(', ')}`;
      lines.push(
        `| ${row.implementation} | ${lostOf(during)} | ${worst} | ${memory} | ${row.logLines} | ${fate} |`,
      );
    }
    lines.push('');
  }
  return `${lines.join('\n')}\n`;
};
