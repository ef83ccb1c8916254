/**
 * Child processes that do not outlive the runner: each is started in a process group of its own, which
 * ends with it, and the groups that are left when the runner exits are killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { messageOf } from '../../src/errors.ts';

export interface Exit {
  /** Null when ended by a signal or never started. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started. */
  readonly error: string | undefined;
}

export interface Child {
  /** 0 when it could not be started. */
  readonly pid: number;
  /** Milliseconds since 1970; the times in the log count from here. */
  readonly startedAt: number;
  /** Settles once the process has exited and its output is on disk; never rejects. */
  readonly exited: Promise<Exit>;
  /** stdout so far, cut at 64 KiB. */
  stdout(): string;
  /** SIGTERM to the group, SIGKILL after `graceMs`; settles when the process is gone. */
  stop(graceMs?: number): Promise<Exit>;
}

export interface ChildOptions {
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Log file: a header, then every line of output with its time and stream. */
  readonly log: string;
  readonly header: readonly string[];
  /** Also gets stdout, as it comes. */
  readonly onStdout?: (chunk: string) => void;
}

const STDOUT_LIMIT = 64 * 1024;
/** Characters of one log file, so that a peer that prints without end cannot fill the disk. */
const LOG_LIMIT = 4 * 1024 * 1024;
const LINE_LIMIT = 16 * 1024;

const live = new Set<ChildProcess>();

const killGroup = (child: ChildProcess, signal: NodeJS.Signals): void => {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has ended already.
  }
};

/** Kills every process group now, without waiting: for the second Ctrl-C. */
export const killAll = (): void => {
  for (const child of live) killGroup(child, 'SIGKILL');
};
// However the runner ends.
process.on('exit', killAll);

/** Starts a process as the leader of a new group, with its output in a log file. */
export const start = async (options: ChildOptions): Promise<Child> => {
  const { command, log } = options;
  const [file = '', ...args] = command;
  await mkdir(dirname(log), { recursive: true });
  const sink = createWriteStream(log);
  // A full disk must not end the run: the log is then cut.
  sink.on('error', () => {});
  const began = performance.now();
  let logged = 0;
  const write = (line: string) => {
    if (logged > LOG_LIMIT) return;
    logged += line.length + 1;
    sink.write(logged > LOG_LIMIT ? '... the rest is cut\n' : `${line}\n`);
  };
  for (const line of options.header) write(`# ${line}`);

  let stdout = '';
  const pipe = (stream: NodeJS.ReadableStream | null, label: 'out' | 'err') => {
    if (stream === null) return;
    let rest = '';
    const emit = (line: string) =>
      write(`${((performance.now() - began) / 1000).toFixed(3).padStart(8)} ${label}  ${line}`);
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      if (label === 'out') options.onStdout?.(chunk);
      if (label === 'out' && stdout.length < STDOUT_LIMIT)
        stdout = (stdout + chunk).slice(0, STDOUT_LIMIT);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) emit(line.slice(0, LINE_LIMIT));
      if (rest.length > LINE_LIMIT) {
        emit(rest.slice(0, LINE_LIMIT));
        rest = '';
      }
    });
    stream.on('end', () => {
      if (rest !== '') emit(rest);
    });
    stream.on('error', () => {});
  };

  const child = spawn(file, args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (child.pid !== undefined) live.add(child);
  pipe(child.stdout, 'out');
  pipe(child.stderr, 'err');

  let done = false;
  const exited = new Promise<Exit>((resolve) => {
    const finish = (exit: Exit) => {
      if (done) return;
      done = true;
      killGroup(child, 'SIGKILL'); // Processes that it started and did not end itself.
      live.delete(child);
      const how =
        exit.error ?? (exit.signal === null ? `exit code ${exit.code}` : `ended by ${exit.signal}`);
      write(`# ${((performance.now() - began) / 1000).toFixed(3)} s: ${how}`);
      sink.end(() => resolve(exit));
      sink.once('error', () => resolve(exit));
    };
    child.once('error', (error) => {
      if (child.pid === undefined) {
        finish({ code: null, signal: null, error: messageOf(error).replace(/^spawn /, '') });
      }
    });
    child.once('exit', (code, signal) => {
      // Output normally ends with the process; a grandchild may hold the pipes open, so its group
      // is killed and the wait is bounded.
      killGroup(child, 'SIGKILL');
      const giveUp = (): void => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        finish({ code, signal, error: undefined });
      };
      // On a busy machine the timer may fire before the pipes have been read: they are before the immediate.
      const bound = setTimeout(() => setImmediate(giveUp), 500);
      child.once('close', () => {
        clearTimeout(bound);
        finish({ code, signal, error: undefined });
      });
    });
  });

  return {
    pid: child.pid ?? 0,
    startedAt: performance.timeOrigin + began,
    exited,
    stdout: () => stdout,
    stop: async (graceMs = 2000) => {
      if (done) return await exited;
      killGroup(child, 'SIGTERM');
      const timer = setTimeout(() => killGroup(child, 'SIGKILL'), graceMs);
      const exit = await exited;
      clearTimeout(timer);
      return exit;
    },
  };
};

/** The exit code a shell gives for a signal: 130 for SIGINT. */
export const exitCodeOf = (signal: NodeJS.Signals): number =>
  128 + (constants.signals[signal] ?? 0);
