/** The page's section about network conditions: success by condition, and handshake times as box plots. */
import { median } from 'd3-array';
import { CONDITIONS } from '../../network/conditions.ts';
import type { CellResult, Results } from '../results.ts';
import { type ConditionTable, conditionTables, passesOf } from '../under-conditions.ts';
import { boxPlots, milliseconds, type Series } from './box-plot.ts';
import { html, type Markup } from './markup.ts';

const handshakes = (cell: CellResult): number[] =>
  cell.attempts.flatMap((attempt) => attempt.handshakePlusOneRttMs ?? []);

const table = (
  { title, conditions, rows }: ConditionTable,
  index: ReadonlyMap<string, number>,
  ours: ReadonlySet<string>,
): Markup => {
  const square = (cell: CellResult | undefined): Markup => {
    if (cell === undefined) return html`<td class="none" aria-label="not run">·</td>`;
    const time = median(handshakes(cell));
    const score = `${passesOf(cell)}/${cell.attempts.length}`;
    const label = `${cell.name}: ${score}${time === undefined ? '' : `, handshake ${milliseconds(time)} ms`}`;
    return html`<td><button type="button" class="cell score ${cell.verdict}" data-i="${index.get(cell.name)}" aria-label="${label}" title="${label}">${score}<small>${time === undefined ? '' : milliseconds(time)}</small></button></td>`;
  };
  return html`
<figure class="matrix" data-combination="${title}">
<figcaption><h3>${title}</h3></figcaption>
<div class="scroll" tabindex="-1"><table aria-label="${title}: successes by network condition">
<thead><tr><th class="corner"></th>${conditions.map((name) => html`<th scope="col"><span>${name}</span></th>`)}</tr></thead>
<tbody>${[...rows].map(
    ([pair, cells]) =>
      html`<tr><th scope="row" class="${ours.has(pair) ? 'ours' : ''}">${pair}</th>${conditions.map((name) => square(cells.get(name)))}</tr>`,
  )}</tbody></table></div></figure>`;
};

const plots = ({ title, conditions, rows }: ConditionTable): Markup[] =>
  conditions.map((name) => {
    const series: Series[] = [...rows].flatMap(([pair, cells]) => {
      const cell = cells.get(name);
      if (cell === undefined) return [];
      const { ours, transport } = cell;
      return [{ label: pair, values: handshakes(cell), emphasis: ours, transport }];
    });
    const summary = CONDITIONS.find((one) => one.name === name)?.summary;
    return html`<figure class="panel"><figcaption><h3>${name}, ${title}</h3><p>${summary ?? ''}</p></figcaption>${boxPlots(series)}</figure>`;
  });

/** Nothing when no cell was run under a condition. */
export const conditionsSection = (
  results: Results,
  index: ReadonlyMap<string, number>,
  ours: ReadonlySet<string>,
): Markup | undefined => {
  const tables = conditionTables(results);
  if (tables.length === 0) return undefined;
  return html`<section id="conditions"><h2>Network conditions</h2>
<p class="quiet">Attempts that succeeded, and the median of handshake + 1 RTT in milliseconds. Seed ${results.options.seed}: every pair meets the same losses.</p>
<div class="matrices">${tables.map((one) => table(one, index, ours))}</div>
<h3>Handshake + 1 RTT</h3>
<div class="panels">${tables.flatMap(plots)}</div></section>`;
};
