/** Sections of the benchmarks as tables, for the terminal and for bench/README.md. */

import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ROOT } from './participants.ts';
import type { Spread } from './statistics.ts';

/** One part of the benchmarks. */
export interface Section {
  /** Its markers in README.md. */
  readonly id: string;
  /** A Markdown table; the first row is its head. */
  readonly rows: readonly (readonly string[])[];
  /** How it was measured, in one line. */
  readonly note: string;
}

/** `12.3 (11.9–13.0)`: the median and the quartiles. */
export const shown = ({ median, low, high }: Spread, digits = 1): string =>
  `${median.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;

export const shownRatio = (ratio: number): string => `${ratio.toFixed(2)} ×`;

/** Markdown, padded so that it can be read in a terminal too. Numbers are right-aligned. */
export const tableOf = ([head = [], ...body]: Section['rows']): string => {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...body].map((row) => (row[column] ?? '').length)),
  );
  const numeric = head.map((_, column) => body.every((row) => !/^[a-z]/i.test(row[column] ?? '')));
  const line = (cells: readonly string[]): string =>
    `| ${cells
      .map((cell, column) =>
        numeric[column] === true
          ? cell.padStart(widths[column] ?? 0)
          : cell.padEnd(widths[column] ?? 0),
      )
      .join(' | ')} |`;
  const rule = widths.map((width, column) =>
    numeric[column] === true ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  );
  return [line(head), line(rule), ...body.map(line)].join('\n');
};

/** Whether `chrt -r 1` shields the figures from other load; they say so then. */
const hasRealTimePriority = (): boolean => {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    // The policy is field 41; the name, in parentheses, may hold spaces. 1: FIFO, 2: round robin.
    const policy = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38];
    return policy === '1' || policy === '2';
  } catch {
    return false;
  }
};

/** The command that this process runs, as one would type it in the checkout. */
export const commandLine = (): string => {
  const [, script = '', ...words] = process.argv;
  const command = ['node', path.relative(ROOT, script), ...words].join(' ');
  return hasRealTimePriority() ? `chrt -r 1 ${command}` : command;
};

export const machine = (): string => {
  const [cpu] = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  return `${os.cpus().length} × ${cpu?.model.trim()}, ${memory} GiB, Linux ${os.release()}`;
};

/** The date in UTC, as `2026-11-21`. */
export const today = (): string => new Date().toISOString().slice(0, 10);

export const loadAverage = (): number => os.loadavg()[0] ?? 0;

/**
 * Called when a section starts.
 *
 * @returns what describes the conditions once it has ended: command, date, machine, load before and after
 */
export const startSection = (): (() => string) => {
  const before = loadAverage();
  return () => {
    const load = `load average ${before.toFixed(1)} before, ${loadAverage().toFixed(1)} after`;
    return `\`${commandLine()}\`, ${today()}; ${machine()}; ${load}.`;
  };
};

export const print = ({ rows, note }: Section): void => {
  process.stdout.write(`\n${tableOf(rows)}\n\n${note}\n`);
};

/** Puts `section` between its markers in `file`. @throws when there are none. */
export const record = (file: string, { id, rows, note }: Section): void => {
  const text = readFileSync(file, 'utf8');
  const open = `<!-- ${id} -->\n`;
  const close = `<!-- /${id} -->`;
  const from = text.indexOf(open);
  const to = text.indexOf(close);
  if (from < 0 || to < from) throw new Error(`${file} has no place for ${id}`);
  const before = text.slice(0, from + open.length);
  writeFileSync(file, `${before}\n${tableOf(rows)}\n\n${note}\n\n${text.slice(to)}`);
};
