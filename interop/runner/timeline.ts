/** What both sides of an attempt said and did, in the order of its time: their logs, and their qlog events. */
import { open, stat, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { renderTimeline, type TimelineEvent } from './dashboard/timeline-page.ts';
import { qlogEvents } from './qlog.ts';
import type { Role, TraceRecord } from './results.ts';
import { isQlog, tracesOf } from './traces.ts';

/** One process of an attempt. */
export interface LoggedSide {
  readonly role: Role;
  /** Its log file. */
  readonly log: string;
  /** Milliseconds since 1970, which the times in the log count from. */
  readonly startedAt: number;
}

/** Bytes of one file that are read, and events of a timeline: a peer may write without end. */
const MAX_BYTES = 8 << 20;
const MAX_EVENTS = 50_000;
const MAX_TEXT = 2_000;

/** The start of a file, at most `MAX_BYTES`; empty if it cannot be read. */
const startOf = async (path: string): Promise<string> => {
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, MAX_BYTES));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.toString('utf8', 0, bytesRead);
  } catch {
    return '';
  }
};

/** Lines of a log as processes.ts writes it: seconds since the start, the stream, the text. */
export const logEvents = (
  text: string,
  { role, startedAt }: Omit<LoggedSide, 'log'>,
): TimelineEvent[] =>
  text.split('\n').flatMap((line) => {
    const [, seconds, source = '', said = ''] =
      /^ *(\d+\.\d{3}) (out|err) {2}(.*)$/.exec(line) ?? [];
    if (seconds !== undefined) {
      const at = startedAt + 1_000 * Number(seconds);
      return { at, role, source, text: said.slice(0, MAX_TEXT) };
    }
    const [, end, how] = /^# (\d+\.\d{3}) s: (.*)$/.exec(line) ?? [];
    if (end === undefined) return [];
    return { at: startedAt + 1_000 * Number(end), role, source: 'end', text: how ?? '' };
  });

const eventsOf = async ({ role, log, startedAt }: LoggedSide): Promise<TimelineEvent[]> => {
  const events = logEvents(await startOf(log), { role, startedAt });
  for (const path of (await tracesOf(log)).filter(isQlog)) {
    // For those that do not say when they began: the file is made with the connection.
    const { birthtimeMs } = await stat(path);
    for (const { at, text } of qlogEvents(await startOf(path), birthtimeMs)) {
      events.push({ at, role, source: basename(path), text: text.slice(0, MAX_TEXT) });
    }
  }
  return events;
};

/**
 * Writes `timeline.html` into `folder`.
 *
 * @param out folder of results.json, which the paths in the record are relative to
 */
export const writeTimeline = async (options: {
  readonly title: string;
  readonly out: string;
  readonly folder: string;
  readonly sides: readonly LoggedSide[];
}): Promise<TraceRecord> => {
  const { title, out, folder, sides } = options;
  const all = (await Promise.all(sides.map(eventsOf))).flat().sort((a, b) => a.at - b.at);
  const timeline = join(folder, 'timeline.html');
  const events = all.slice(0, MAX_EVENTS);
  await writeFile(timeline, renderTimeline(title, events, all.length - events.length));
  const files = (await Promise.all(sides.map(({ log }) => tracesOf(log)))).flat();
  return {
    timeline: relative(out, timeline),
    files: [...new Set(files)].map((file) => relative(out, file)),
  };
};
