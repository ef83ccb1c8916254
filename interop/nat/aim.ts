/**
 * The aim of the laboratory: where a peer gets a direct connection with itself, ours gets one with that peer,
 * in both roles and as fast.
 */
import { median } from 'd3-array';
import { punchCounts } from '../runner/markdown.ts';
import type { CellResult } from '../runner/results.ts';

export interface Comparison {
  readonly cell: CellResult;
  /** The peer with itself, over the same relay and NATs. */
  readonly reference: CellResult;
  /** Undefined where a side got no direct connection. */
  readonly ownMs: number | undefined;
  readonly referenceMs: number | undefined;
  /** Whether the reference always got a direct connection and ours did not. */
  readonly missed: boolean;
}

const relayedToDirect = (cell: CellResult): number | undefined =>
  median(cell.attempts.flatMap(({ holePunch }) => holePunch?.relayedToDirectMs ?? []));

const always = (cell: CellResult): boolean => punchCounts(cell).direct === cell.attempts.length;

const placeOf = ({ transport, relay, nats }: CellResult): string =>
  [transport, relay, nats?.dialer, nats?.listener].join(' ');

/** Compares each cell of ours with the same cell of its peer alone; ours with itself, with every peer. */
export const compare = (cells: readonly CellResult[]): Comparison[] => {
  const references = Map.groupBy(
    cells.filter((cell) => !cell.ours && cell.dialer === cell.listener),
    placeOf,
  );
  return cells
    .filter(({ ours }) => ours)
    .flatMap((cell) =>
      (references.get(placeOf(cell)) ?? [])
        .filter(
          ({ dialer }) =>
            cell.dialer === cell.listener || dialer === cell.dialer || dialer === cell.listener,
        )
        .map((reference) => ({
          cell,
          reference,
          ownMs: relayedToDirect(cell),
          referenceMs: relayedToDirect(reference),
          missed: always(reference) && !always(cell),
        })),
    );
};

/** The lines of the report: what was missed, and how the times of each pair of participants compare. */
export const aimLines = (comparisons: readonly Comparison[]): string[] => {
  const missed = comparisons.filter((one) => one.missed);
  const lines = missed.map(
    ({ cell, reference }) =>
      `MISSED  ${cell.name}: ${reference.dialer} x ${reference.listener} gets through`,
  );
  const timed = Map.groupBy(
    comparisons.filter(
      ({ ownMs, referenceMs }) => ownMs !== undefined && referenceMs !== undefined,
    ),
    ({ cell, reference }) =>
      `${cell.dialer} x ${cell.listener} (${cell.transport}) beside ${reference.dialer} x ${reference.listener}`,
  );
  for (const [title, list] of timed) {
    const own = median(list, ({ ownMs }) => ownMs) ?? 0;
    const reference = median(list, ({ referenceMs }) => referenceMs) ?? 0;
    lines.push(
      `${title}: relayed to direct ${own.toFixed(0)} ms, theirs ${reference.toFixed(0)} ms (medians of ${list.length} pairs of NATs and relays)`,
    );
  }
  return lines;
};
