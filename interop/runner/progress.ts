/** What a person sees while cells run: a live line on a terminal, plain lines elsewhere. */
import { styleText } from 'node:util';
import { median } from 'd3-array';
import { createLogUpdate } from 'log-update';
import { printable } from '../../src/printable.ts';
import { type CellResult, tellingLine, type Verdict } from './results.ts';
import type { Reporter } from './run-matrix.ts';

type Terminal = NodeJS.WriteStream;

type Colour = 'green' | 'red' | 'yellow' | 'magenta' | 'gray';

const MARKS: Readonly<Record<Verdict, readonly [symbol: string, colour: Colour]>> = {
  pass: ['✓', 'green'],
  fail: ['✗', 'red'],
  known: ['!', 'yellow'],
  peer: ['✗', 'magenta'],
  'unexpected-pass': ['?', 'red'],
};

const WORDS: Readonly<Record<Verdict, string>> = {
  pass: '',
  fail: 'FAILED',
  known: 'failed, as listed in known-failures.yaml',
  peer: 'failed between peers, not counted',
  'unexpected-pass': 'PASSED, but is listed in known-failures.yaml: take it off the list',
};

/** Characters of a message, and of a line of a log. */
const MAX_DETAIL = 200;

const ms = (value: number): string =>
  value < 10 ? value.toFixed(2) : value.toFixed(value < 100 ? 1 : 0);

/** `1 h 02 min`, `3 min 20 s`, `8 s`. */
export const duration = (milliseconds: number): string => {
  const total = Math.round(milliseconds / 1000);
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  if (h > 0) return `${h} h ${String(m).padStart(2, '0')} min`;
  return m > 0 ? `${m} min ${String(s).padStart(2, '0')} s` : `${s} s`;
};

/** One line about a finished cell, without colour. */
const detail = (cell: CellResult): string => {
  const failed = cell.attempts.find((attempt) => attempt.failure !== null);
  const words = WORDS[cell.verdict];
  if (failed?.failure) {
    const line = tellingLine(failed);
    // Not only what this run has seen: results can come from files, too.
    const why = printable(failed.failure.message, MAX_DETAIL);
    return ` ${words}: ${why}${line === undefined ? '' : `: ${printable(line.trim(), MAX_DETAIL)}`}`;
  }
  const handshake = median(cell.attempts.flatMap((attempt) => attempt.handshakePlusOneRttMs ?? []));
  const ping = median(cell.attempts.flatMap((attempt) => attempt.pingRttMs ?? []));
  const numbers =
    handshake === undefined || ping === undefined
      ? ''
      : `  handshake+rtt ${ms(handshake)} ms, ping ${ms(ping)} ms`;
  return `${numbers}${words === '' ? '' : `  ${words}`}`;
};

/** Plain lines: one for every cell, for CI logs. */
const plain = (stream: Terminal): Reporter => {
  let total = 0;
  let done = 0;
  return {
    begin: (cells, workers) => {
      total = cells;
      stream.write(`running ${cells} cells with ${workers} workers\n`);
    },
    cell: (cell) => {
      done++;
      const place = `[${String(done).padStart(String(total).length)}/${total}]`;
      stream.write(`${place} ${MARKS[cell.verdict][0]} ${cell.name}${detail(cell)}\n`);
    },
    end: () => {},
  };
};

/** A live progress bar; only failures stay on the screen. */
const live = (stream: Terminal): Reporter => {
  const line = createLogUpdate(stream, { showCursor: true });
  // Whether there is colour depends on this stream, not on stdout.
  const paint = (colour: Colour, text: string) => styleText(colour, text, { stream });
  const counts = { done: 0, failed: 0, peer: 0 };
  let total = 0;
  let began = 0;
  let last = '';
  let ticker: NodeJS.Timeout | undefined;
  const render = () => {
    const elapsed = performance.now() - began;
    const left =
      counts.done === 0
        ? ''
        : `, ${duration((elapsed / counts.done) * (total - counts.done))} left`;
    const columns = stream.columns ?? 80;
    const width = Math.max(10, Math.min(40, columns - 60));
    const filled = total === 0 ? width : Math.round((counts.done / total) * width);
    const bar = `${paint(counts.failed > 0 ? 'red' : 'green', '━'.repeat(filled))}${paint('gray', '─'.repeat(width - filled))}`;
    const failures = counts.failed > 0 ? paint('red', `${counts.failed} failed`) : '0 failed';
    const peers = counts.peer > 0 ? `, ${counts.peer} between peers` : '';
    const name = last.slice(0, columns - 2);
    line(`${bar} ${counts.done}/${total}  ${failures}${peers}${left}\n${paint('gray', name)}`);
  };
  return {
    begin: (cells) => {
      total = cells;
      began = performance.now();
      ticker = setInterval(render, 1000);
      render();
    },
    cell: (cell) => {
      counts.done++;
      if (cell.verdict === 'fail' || cell.verdict === 'unexpected-pass') counts.failed++;
      if (cell.verdict === 'peer') counts.peer++;
      last = cell.name;
      if (cell.verdict !== 'pass') {
        const [symbol, colour] = MARKS[cell.verdict];
        line.clear();
        stream.write(`${paint(colour, symbol)} ${cell.name}${paint('gray', detail(cell))}\n`);
      }
      render();
    },
    end: () => {
      clearInterval(ticker);
      line.clear();
      line.done();
    },
  };
};

/** Live on a terminal that is not a CI log, plain otherwise. */
export const createReporter = (stream: Terminal): Reporter =>
  stream.isTTY && stream.rows > 1 && stream.columns > 1 && !process.env.CI
    ? live(stream)
    : plain(stream);
