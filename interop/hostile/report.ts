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

/** One table for each attack. */
export const renderOutcomes = (outcomes: readonly Outcome[]): string => {
  const lines: string[] = [];
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
