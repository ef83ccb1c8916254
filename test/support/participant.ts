/** Runs `bin/libp2p-lean` as a process of its own, as a runner does. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const LAUNCHER = fileURLToPath(new URL('../../bin/libp2p-lean', import.meta.url));

export interface Outcome {
  /** `null` when it was ended by a signal that it did not handle. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Participant {
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with the first match in what it printed so far and prints from now on. */
  waitFor(pattern: RegExp, from?: 'stdout' | 'stderr'): Promise<RegExpExecArray>;
  kill(signal: NodeJS.Signals): void;
  /** Ends it with SIGKILL if it still runs. */
  readonly ended: Promise<Outcome>;
  dispose(): Promise<void>;
}

export type Variables = Readonly<Record<string, string>>;

/** Only these variables, and what a process needs to run at all. */
const environmentOf = (variables: Variables): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: process.env.HOME,
  ...variables,
});

/** Starts it. `command` is what runs in place of this process's Node.js with the launcher. */
export const start = (
  args: readonly string[],
  variables: Variables = {},
  command: readonly string[] = [process.execPath, LAUNCHER],
): Participant => {
  const [file = '', ...before] = command;
  const child = spawn(file, [...before, ...args], {
    env: environmentOf(variables),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
      for (const listener of listeners) listener();
    });
  }
  const ended = once(child, 'close').then(([code, signal]): Outcome => {
    process.off('exit', kill);
    const outcome = { code, signal, ...text } as Outcome;
    queueMicrotask(() => {
      for (const listener of listeners) listener();
    });
    return outcome;
  });
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  let over = false;
  ended.then(
    () => {
      over = true;
    },
    () => undefined,
  );
  return {
    pid: child.pid ?? 0,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    waitFor: (pattern, from = 'stdout') =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(text[from]);
          if (match !== null) resolve(match);
          else if (over) {
            const shown = `${text.stdout}${text.stderr}`;
            reject(new Error(`ended without ${pattern} on ${from}; it printed: ${shown}`));
          } else return;
          listeners.delete(look);
        };
        listeners.add(look);
        look();
      }),
    kill: (signal) => void child.kill(signal),
    ended,
    dispose: async () => {
      kill();
      await ended;
    },
  };
};

/** Runs it to its end. */
export const run = (
  args: readonly string[],
  variables?: Variables,
  command?: readonly string[],
): Promise<Outcome> => start(args, variables, command).ended;
