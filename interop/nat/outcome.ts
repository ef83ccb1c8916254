/** The output of a dialer of the laboratory: the suite's result, and whether the connection became direct. */
import { type Latencies, parseResult } from '../runner/participant.ts';
import type { HolePunch } from '../runner/results.ts';

const SECTION =
  /^hole_punch:\n {2}connection: (direct|relayed)\n {2}relayed_after: (\d{1,9}(?:\.\d{1,6})?)\n(?: {2}relayed_to_direct: (\d{1,9}(?:\.\d{1,6})?)\n)?$/;

/** Reads a dialer's whole stdout, strictly. @returns the outcome, or one line that says what is wrong */
export const parseOutcome = (stdout: string): (Latencies & { holePunch: HolePunch }) | string => {
  const start = stdout.indexOf('hole_punch:\n');
  if (start < 0) return 'its stdout has no hole_punch';
  const latencies = parseResult('unified', stdout.slice(0, start));
  if (typeof latencies === 'string') return latencies;
  const [, connection, relayed, direct] = SECTION.exec(stdout.slice(start)) ?? [];
  if (connection === undefined || (connection === 'direct') !== (direct !== undefined)) {
    return 'its hole_punch section is not one';
  }
  return {
    ...latencies,
    holePunch: {
      connection: connection === 'direct' ? 'direct' : 'relayed',
      relayedAfterMs: Number(relayed),
      relayedToDirectMs: direct === undefined ? null : Number(direct),
    },
  };
};
