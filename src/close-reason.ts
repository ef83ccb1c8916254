import { printable } from './printable.ts';

/** Why a connection ended. */
export interface CloseReason {
  readonly by: 'local' | 'remote' | 'timeout' | 'error';
  /** The close code of the side that closed it; 0 is a normal end. */
  readonly code: number;
  /** Whether `code` is the application's, not the transport's. */
  readonly application: boolean;
  /** The closing side's text, unescaped: `describeClose()` makes it printable. */
  readonly reason: string;
}

/** `closed by the peer: going away (code 0)`, for logs and error messages. */
export const describeClose = (close: CloseReason): string => {
  const who = {
    local: 'closed by us',
    remote: 'closed by the peer',
    timeout: 'timed out: the peer went silent',
    error: 'failed',
  }[close.by];
  const why = close.reason === '' ? '' : `: ${printable(close.reason)}`;
  const code =
    close.by === 'timeout' || close.code === 0 ? '' : ` (code 0x${close.code.toString(16)})`;
  return `connection ${who}${why}${code}`;
};
