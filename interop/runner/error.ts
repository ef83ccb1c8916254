import { HarnessError } from '../../src/harness/errors.ts';

/**
 * Something the person who started the run can put right: a bad flag, a mistake in a file, a tool
 * that is missing. Its message is one line that says so; the exit code is 2.
 */
export class MatrixError extends HarnessError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_CONFIG', message, options);
  }
}
