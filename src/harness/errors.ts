/** What goes wrong in a test run and not in libp2p: the environment, the command line, Redis. */

export type HarnessErrorCode =
  /** A variable, a flag or an argument is missing or malformed: exit code 2. */
  | 'ERR_CONFIG'
  /** Redis refuses a command, or the key holds something other than an address. */
  | 'ERR_REDIS';

/** Like a `LeanError`: `code` is for programs, `message` one clear line for people. */
export class HarnessError extends Error {
  override readonly name: string = 'HarnessError';
  readonly code: HarnessErrorCode;

  constructor(code: HarnessErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** True when `error` is a {@link HarnessError}, optionally with that code. */
export const isHarnessError = (error: unknown, code?: HarnessErrorCode): error is HarnessError =>
  error instanceof HarnessError && (code === undefined || error.code === code);
