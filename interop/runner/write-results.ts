/** Writes results.json, results.md and results.html, with the logs beside them. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join, normalize, resolve, sep } from 'node:path';
import { renderDashboard } from './dashboard/dashboard.ts';
import { renderMarkdown } from './markdown.ts';
import type { Attempt, ParticipantRecord, Results, TraceRecord } from './results.ts';

/** Characters of each log that are put into the page; the file has all. */
const EXCERPT = { head: 4 * 1024, tail: 12 * 1024 };

const excerpt = (text: string): string =>
  text.length <= EXCERPT.head + EXCERPT.tail
    ? text
    : `${text.slice(0, EXCERPT.head)}\n... ${text.length - EXCERPT.head - EXCERPT.tail} characters left out here; the log file has them ...\n${text.slice(-EXCERPT.tail)}`;

/** Inside `folder`, or undefined: a results.json from elsewhere must not read other files. */
const inside = (folder: string, path: string): string | undefined => {
  const full = resolve(folder, normalize(path));
  return full.startsWith(resolve(folder) + sep) ? full : undefined;
};

const logsOf = (results: Results): string[] =>
  results.cells.flatMap(({ attempts, retry }) =>
    [...attempts, ...(retry === undefined ? [] : [retry])].flatMap(
      ({ dialer, listener, relay }) => [
        dialer.log,
        listener.log,
        ...(relay === undefined ? [] : [relay.log]),
      ],
    ),
  );

/** Writes the files into `out`; returns their paths. */
export const writeResults = async (results: Results, out: string): Promise<string[]> => {
  await mkdir(out, { recursive: true });
  const logs = new Map<string, string>();
  for (const path of logsOf(results)) {
    const full = inside(out, path);
    if (full === undefined || logs.has(path)) continue;
    const text = await readFile(full, 'utf8').catch(() => undefined);
    if (text !== undefined) logs.set(path, excerpt(text));
  }
  const files: Array<readonly [string, string]> = [
    ['results.json', `${JSON.stringify(results, null, 2)}\n`],
    ['results.md', renderMarkdown(results)],
    ['results.html', await renderDashboard(results, logs)],
  ];
  const paths: string[] = [];
  for (const [name, content] of files) {
    const path = join(out, name);
    await writeFile(path, content);
    paths.push(path);
  }
  return paths;
};

/**
 * Copies the logs of several results into `out`, each below a folder of its own, and returns the
 * results with their log paths changed to match.
 */
export const gatherLogs = async (
  files: readonly string[],
  parts: readonly Results[],
  out: string,
): Promise<Results[]> => {
  const moved: Results[] = [];
  for (const [index, part] of parts.entries()) {
    const from = dirname(files[index] ?? '');
    /** Copies the file at `path`; the path it has now. A result is kept even if its files were not. */
    const copy = async (path: string): Promise<string> => {
      const moved = join('logs', `part-${index + 1}`, path.replace(/^logs[/\\]/, ''));
      const [source, target] = [inside(from, path), inside(out, moved)];
      if (source !== undefined && target !== undefined) {
        await mkdir(dirname(target), { recursive: true });
        await copyFile(source, target).catch(() => {});
      }
      return moved;
    };
    const move = async (record: ParticipantRecord): Promise<ParticipantRecord> => ({
      ...record,
      log: await copy(record.log),
    });
    const moveTrace = async ({ timeline, files }: TraceRecord): Promise<TraceRecord> => ({
      timeline: await copy(timeline),
      files: await Promise.all(files.map(copy)),
    });
    const moveAttempt = async (attempt: Attempt): Promise<Attempt> => ({
      ...attempt,
      dialer: await move(attempt.dialer),
      listener: await move(attempt.listener),
      ...(attempt.relay && { relay: await move(attempt.relay) }),
      ...(attempt.trace && { trace: await moveTrace(attempt.trace) }),
    });
    const cells = [];
    for (const cell of part.cells) {
      const attempts = await Promise.all(cell.attempts.map(moveAttempt));
      cells.push({
        ...cell,
        attempts,
        ...(cell.retry && { retry: await moveAttempt(cell.retry) }),
      });
    }
    moved.push({ ...part, cells });
  }
  return moved;
};
