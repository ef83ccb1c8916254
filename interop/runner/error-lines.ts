/** Picks the lines of a participant's log that most likely explain a failure, escaped for printing. */
import { readFile } from 'node:fs/promises';
import { printable } from '../../src/printable.ts';

const TELLING =
  /error|fail|panic|fatal|exception|refused|timed? ?out|unreachable|mismatch|invalid|abort|denied|cannot|could not|unsupported|not supported|no such|\bERR_/i;
/** Frames and captions of stack traces (JavaScript, Python, Go), and source lines that raise. */
const NOISE =
  /^(at |File "|goroutine \d|raise |throw |Traceback \(|Exception Group Traceback|ExceptionGroup: |The above exception|During handling|\d+ -|\^+$|$)/;
/** The tree that Python draws before the lines of an exception group. */
const TREE = /^[\s|+-]+/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours are control characters
const ANSI = /\u001b\[[0-9;?]*[A-Za-z]/g;

/**
 * The first lines that name an error, in their order and without repetition; if none does, the
 * last lines there are.
 *
 * @param log text of a log file as processes.ts writes it
 * @param limit at most so many
 */
export const errorLines = (log: string, limit = 5): string[] => {
  const lines = log
    .replace(ANSI, '')
    .split('\n')
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.replace(/^ *\d+\.\d{3} (out|err) {2}/, '').trimEnd())
    // In a Python trace a line of source follows the line that names its file.
    .filter((_, place, all) => !/^[\s|+-]*File "/.test(all[place - 1] ?? ''))
    .filter((line) => !NOISE.test(line.replace(TREE, '')))
    .map((line) => (/^\s*[|+]/.test(line) ? line.replace(TREE, '') : line))
    .map((line) => printable(line.replaceAll('\t', ' ')));
  const telling = [...new Set(lines.filter((line) => TELLING.test(line)))];
  return telling.length > 0 ? telling.slice(0, limit) : lines.slice(-Math.min(3, limit));
};

/** The same for a file; nothing when it cannot be read. */
export const errorLinesOf = async (path: string, limit?: number): Promise<string[]> => {
  try {
    return errorLines(await readFile(path, 'utf8'), limit);
  } catch {
    return [];
  }
};
