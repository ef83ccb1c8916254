/** Processes that are measured: start, wait, read /proc, end. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export type Variables = Readonly<Record<string, string>>;

/** A time limit longer than any measurement here, ms. */
const TIMEOUT = 60_000;
/** Clock ticks of /proc/<pid>/stat a second: fixed at 100 for user space on Linux. */
const TICKS = 100;

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Starts it with PATH and HOME as its only inherited variables. It shares our stderr. */
export const start = (command: Command, variables: Variables = {}): ChildProcess => {
  const child = spawn(command.file, command.args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...command.env, ...variables },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
};

/** Runs it to its end. @throws when it fails or does not end. */
export const run = async (
  command: Command,
  variables: Variables = {},
): Promise<{ readonly stdout: string; readonly ms: number }> => {
  const began = performance.now();
  const child = start(command, variables);
  let stdout = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  const closed = once(child, 'close');
  const [code, signal] = await within(once(child, 'exit'), command);
  const ms = performance.now() - began;
  await closed;
  if (code !== 0) throw new Error(`${shown(command)} ended with ${code ?? signal}`);
  return { stdout, ms };
};

/** Ends it gracefully (it may write its compile cache) and waits for its end. */
export const end = async (
  child: ChildProcess,
  by: 'SIGTERM' | 'end of stdin' = 'SIGTERM',
): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  if (by === 'SIGTERM') child.kill('SIGTERM');
  else child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), 2_000);
  await closed;
  clearTimeout(timer);
};

/** The next line that it prints, within `timeout` ms. @throws when it ends first. */
export const lines = (
  child: ChildProcess,
  command: Command,
  timeout = TIMEOUT,
): (() => Promise<string>) => {
  if (child.stdout === null) throw new Error('no stdout');
  const iterator = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await within(iterator.next(), command, timeout);
    if (done === true) throw new Error(`${shown(command)} ended too early`);
    return value;
  };
};

/** @throws after `timeout` ms, by default a minute. */
export const within = async <T>(
  work: Promise<T>,
  command: Command,
  timeout = TIMEOUT,
): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${shown(command)} takes too long`)), timeout);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
};

const shown = ({ file, args }: Command): string => [file, ...args].join(' ');

/** Resident memory of a process, bytes. Linux only. */
export const residentBytes = (pid: number): number => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
};

/** The most memory that was resident since the process started or `forgetPeakBytes`, bytes. Linux only. */
export const peakBytes = (pid: number): number => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
};

/** Starts `peakBytes` anew, where the kernel permits it; else the peak is that of the whole run. */
export const forgetPeakBytes = (pid: number): void => {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // Not permitted.
  }
};

/** User and system time of all threads of a process so far, seconds. Linux only. */
export const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};
