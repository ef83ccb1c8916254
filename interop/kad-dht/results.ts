/** The results of a run of the kad-dht suite: results.json and results.md (docs/matrix.md). */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { median } from 'd3-array';
import { printable } from '../../src/printable.ts';
import type { KnownFailure } from '../runner/known-failures.ts';
import { type Verdict, verdictOn } from '../runner/results.ts';
import { KAD_DHT_ROLES, type KadDhtCell } from './cells.ts';
import type { KadDhtAttempt } from './run-cell.ts';

export interface KadDhtCellResult extends KadDhtCell {
  /** `pass` only if every attempt passed. */
  readonly status: 'pass' | 'fail';
  readonly verdict: Verdict;
  readonly attempts: readonly KadDhtAttempt[];
}

export interface KadDhtResults {
  readonly schema: 1;
  readonly suite: 'kad-dht';
  readonly startedAt: string;
  readonly completedAt: string;
  /** Why the run ended early, or null. */
  readonly interrupted: string | null;
  readonly implementations: readonly {
    readonly id: string;
    readonly version: string | null;
    /** Why it did not take part; its cells are then absent. */
    readonly skipped: string | null;
  }[];
  readonly cells: readonly KadDhtCellResult[];
}

/** A cell's result, from its attempts and the list of known failures; as in the transport suite. */
export const judgeKadDhtCell = (
  cell: KadDhtCell,
  attempts: readonly KadDhtAttempt[],
  known: ReadonlyMap<string, KnownFailure>,
): KadDhtCellResult => {
  const status = attempts.every((attempt) => attempt.status === 'pass') ? 'pass' : 'fail';
  const verdict = verdictOn(status === 'pass', cell.ours, known.get(cell.name));
  return { ...cell, status, verdict, attempts };
};

const MARKS: Readonly<Record<Verdict, string>> = {
  pass: '✓',
  fail: '✗',
  known: '!',
  peer: '✗ (peers)',
  'unexpected-pass': '? passed',
};

/** A table for each transport and bootstrap: providers down, queriers across; then every failure. */
export const renderKadDhtMarkdown = (results: KadDhtResults): string => {
  const { cells } = results;
  const lines = ['# kad-dht', ''];
  const passed = cells.filter(({ status }) => status === 'pass').length;
  lines.push(
    `${passed} of ${cells.length} cells passed. A cell is bootstrap × provider × querier; the number is the seconds from start to the querier's end.`,
    '',
  );
  for (const transport of new Set(cells.map((cell) => cell.transport))) {
    const over = cells.filter((cell) => cell.transport === transport);
    const idsOf = (role: (typeof KAD_DHT_ROLES)[number]) => [
      ...new Set(over.map((cell) => cell[role])),
    ];
    const queriers = idsOf('querier');
    for (const bootstrap of idsOf('bootstrap')) {
      lines.push(`## ${transport}, bootstrap ${bootstrap}`, '');
      lines.push(`| provider ↓ querier → | ${queriers.join(' | ')} |`);
      lines.push(`|---|${queriers.map(() => '---|').join('')}`);
      for (const provider of idsOf('provider')) {
        const row = queriers.map((querier) => {
          const cell = over.find(
            (one) =>
              one.bootstrap === bootstrap && one.provider === provider && one.querier === querier,
          );
          if (cell === undefined) return '';
          const ms = median(cell.attempts.map(({ durationMs }) => durationMs)) ?? 0;
          return `${MARKS[cell.verdict]} ${(ms / 1000).toFixed(1)}`;
        });
        lines.push(`| ${provider} | ${row.join(' | ')} |`);
      }
      lines.push('');
    }
  }
  const failures = cells.filter(({ status }) => status === 'fail');
  if (failures.length > 0) lines.push('## Failures', '');
  for (const cell of failures) {
    const attempt = cell.attempts.find(({ failure }) => failure !== null);
    lines.push(`### ${cell.name}`, '', printable(attempt?.failure ?? ''), '');
    for (const role of KAD_DHT_ROLES) {
      const record = attempt?.participants[role];
      for (const line of record?.errorLines ?? []) lines.push(`    ${role}: ${printable(line)}`);
    }
    lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
};

/** Writes both files into `out`; returns their paths. */
export const writeKadDhtResults = async (
  results: KadDhtResults,
  out: string,
): Promise<string[]> => {
  await mkdir(out, { recursive: true });
  const files = [
    ['results.json', `${JSON.stringify(results, null, 2)}\n`],
    ['results.md', renderKadDhtMarkdown(results)],
  ] as const;
  for (const [name, text] of files) await writeFile(join(out, name), text);
  return files.map(([name]) => join(out, name));
};
