/** Results under network conditions, as a table: who with whom over what, by condition. */
import { CONDITIONS } from '../network/conditions.ts';
import type { CellResult, Results } from './results.ts';

/** The cells of one transport + secure channel + muxer. */
export interface ConditionTable {
  readonly title: string;
  /** Names of the conditions that were run, in the order of interop/network/conditions.ts. */
  readonly conditions: readonly string[];
  /** By pair: one name where both sides are the same. */
  readonly rows: ReadonlyMap<string, ReadonlyMap<string, CellResult>>;
}

const pairOf = ({ dialer, listener }: CellResult): string =>
  dialer === listener ? dialer : `${dialer} → ${listener}`;

/** One table for each combination that was run under conditions. */
export const conditionTables = (results: Results): ConditionTable[] => {
  const cells = results.cells.filter(({ condition }) => condition !== null);
  const groups = Map.groupBy(cells, ({ transport, secureChannel, muxer }) =>
    [transport, secureChannel, muxer].filter((part) => part !== null).join(' + '),
  );
  return [...groups].map(([title, group]) => ({
    title,
    conditions: CONDITIONS.map(({ name }) => name).filter((name) =>
      group.some(({ condition }) => condition === name),
    ),
    rows: new Map(
      [...Map.groupBy(group, pairOf)].map(([pair, row]) => [
        pair,
        new Map(row.map((cell) => [cell.condition ?? '', cell])),
      ]),
    ),
  }));
};

/** How many attempts passed. */
export const passesOf = ({ attempts }: CellResult): number =>
  attempts.filter(({ status }) => status === 'pass').length;
