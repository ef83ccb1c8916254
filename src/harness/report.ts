/**
 * What a dialer prints, in the exact form that each runner looks for. Nothing else ever goes to
 * stdout.
 */

import type { Dialect } from './environment.ts';

/** What a dialer has measured; milliseconds. */
export interface Measurement {
  /** From the start of the dial to the first ping answered. */
  readonly handshakePlusOneRtt: number;
  /** One further ping on the connection that is up by then. */
  readonly pingRtt: number;
}

/**
 * - `legacy`: one JSON line; the runner reads the keys as they are, three l's included
 *   (libp2p/test-plans `transport-interop/README.md`).
 * - `unified`: four lines of YAML; the runner picks them with a `grep` on these keys at these
 *   indents (libp2p/unified-testing `transport/lib/run-single-test.sh`).
 *
 * Ends with a newline.
 */
export const formatReport = (dialect: Dialect, measured: Measurement): string => {
  const handshakePlusOneRtt = milliseconds(measured.handshakePlusOneRtt);
  const pingRtt = milliseconds(measured.pingRtt);
  if (dialect === 'legacy') {
    return `{"handshakePlusOneRTTMillis": ${handshakePlusOneRtt}, "pingRTTMilllis": ${pingRtt}}\n`;
  }
  return [
    'latency:',
    `  handshake_plus_one_rtt: ${handshakePlusOneRtt}`,
    `  ping_rtt: ${pingRtt}`,
    '  unit: ms',
    '',
  ].join('\n');
};

/** Milliseconds with three decimals, as go and rust print them; never in exponent form. */
export const milliseconds = (value: number): string => value.toFixed(3);
