/** Runs a short command to its end and collects what it prints. */

import { execFile } from 'node:child_process';

export interface CommandResult {
  /** Null when it could not be started, was killed or timed out. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Never rejects; `timeoutMs` bounds it; output beyond 8 MiB counts as a failure of the command.
 *
 * @param input for its stdin
 */
export const run = (
  command: readonly string[],
  timeoutMs: number,
  cwd?: string,
  input?: string,
): Promise<CommandResult> =>
  new Promise((resolve) => {
    const [file = '', ...args] = command;
    const child = execFile(
      file,
      args,
      {
        timeout: timeoutMs,
        maxBuffer: 8 * 1024 * 1024,
        encoding: 'utf8',
        ...(cwd === undefined ? {} : { cwd }),
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
        resolve({ code, stdout, stderr: stderr || (error?.message ?? '') });
      },
    );
    if (input === undefined) return;
    // It may end without having read it.
    child.stdin?.on('error', () => {}).end(input);
  });
