/**
 * Box plots as rows of inline SVG. Positions are percentages of the width, so a row stretches with
 * the page while its strokes and its text, which is HTML beside it, keep their size.
 */
import { ascending, extent, quantileSorted } from 'd3-array';
import { scaleLog } from 'd3-scale';
import { html, type Markup } from './markup.ts';

export interface Series {
  readonly label: string;
  /** Milliseconds. */
  readonly values: readonly number[];
  readonly emphasis: boolean;
  /** Attributes for filtering: data-transport and data-impl. */
  readonly transport: string;
}

export interface Box {
  readonly low: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly high: number;
}

/** Tukey's box: whiskers reach the last value within 1.5 interquartile ranges of the box. */
export const boxOf = (values: readonly number[]): Box => {
  const sorted = values.toSorted(ascending);
  const at = (p: number) => quantileSorted(sorted, p) ?? Number.NaN;
  const [q1, median, q3] = [at(0.25), at(0.5), at(0.75)];
  const reach = 1.5 * (q3 - q1);
  return {
    low: sorted.find((value) => value >= q1 - reach) ?? q1,
    q1,
    median,
    q3,
    high: sorted.findLast((value) => value <= q3 + reach) ?? q3,
  };
};

/** Smaller values, ms, are shown as this: a clock is not that precise, and 0 has no logarithm. */
const LEAST = 0.01;
const HEIGHT = 28;
const DOTS = 120;

/** `0.42`, `7.1`, `34`. */
export const milliseconds = (value: number): string =>
  value < 1 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);

const spread = (index: number): number => ((index * 0.618034) % 1) - 0.5;

const row = (series: Series, x: (value: number) => number, ticks: readonly number[]): Markup => {
  const box = boxOf(series.values);
  const percent = (value: number) => `${x(value).toFixed(2)}%`;
  const middle = HEIGHT / 2;
  const width = Math.max(0.4, x(box.q3) - x(box.q1));
  const step = Math.ceil(series.values.length / DOTS);
  const dots = series.values
    .filter((_, index) => index % step === 0)
    .map(
      (value, index) =>
        html`<circle class="dot" cx="${percent(value)}" cy="${(middle + spread(index) * 14).toFixed(1)}" r="2"/>`,
    );
  const numbers = `median ${milliseconds(box.median)} ms, middle half ${milliseconds(box.q1)} to ${milliseconds(box.q3)} ms, ${series.values.length} measured`;
  return html`
<li class="${series.emphasis ? 'plot-row ours' : 'plot-row'}" data-impl="${series.label}" data-transport="${series.transport}">
<span class="plot-label">${series.label}</span>
<svg class="plot" height="${HEIGHT}" role="img" aria-label="${series.label}: ${numbers}"><title>${numbers}</title>
${ticks.map((tick) => html`<line class="grid" x1="${percent(tick)}" x2="${percent(tick)}" y1="0" y2="${HEIGHT}"/>`)}
<line class="whisker" x1="${percent(box.low)}" x2="${percent(box.high)}" y1="${middle}" y2="${middle}"/>
<line class="whisker" x1="${percent(box.low)}" x2="${percent(box.low)}" y1="${middle - 4}" y2="${middle + 4}"/>
<line class="whisker" x1="${percent(box.high)}" x2="${percent(box.high)}" y1="${middle - 4}" y2="${middle + 4}"/>
<rect class="box" x="${percent(box.q1)}" width="${width.toFixed(2)}%" y="${middle - 8}" height="16" rx="3"/>
${dots}
<line class="median" x1="${percent(box.median)}" x2="${percent(box.median)}" y1="${middle - 9}" y2="${middle + 9}"/>
</svg>
<span class="plot-value">${milliseconds(box.median)}</span>
</li>`;
};

/** Rows on one logarithmic axis, fastest median first; nothing when there is nothing to show. */
export const boxPlots = (all: readonly Series[]): Markup => {
  const shown = all
    .filter((series) => series.values.length > 0)
    .map((series) => ({ ...series, values: series.values.map((value) => Math.max(LEAST, value)) }))
    .sort((a, b) => boxOf(a.values).median - boxOf(b.values).median);
  const values = shown.flatMap((series) => series.values);
  if (values.length === 0) return html`<p class="quiet">Nothing was measured.</p>`;
  const [least = 1, most = 1] = extent(values);
  const scale = scaleLog()
    .domain([least / 1.3, most * 1.3])
    .range([0, 100]);
  const decades = Math.log10((most * 1.3) / (least / 1.3));
  const leading = decades > 3.5 ? ['1'] : decades > 1.2 ? ['1', '3'] : ['1', '2', '5'];
  const ticks = scale
    .ticks(50)
    .filter(
      (tick) =>
        leading.includes(tick.toExponential().charAt(0)) && /^\d(e|$)/.test(tick.toExponential()),
    );
  return html`
<ol class="plots">
${shown.map((series) => row(series, scale, ticks))}
</ol>
<div class="plot-axis" aria-hidden="true"><div class="plot-ticks">
${ticks.map((tick) => html`<span style="left:${scale(tick).toFixed(2)}%">${tick < 1 ? tick : tick.toLocaleString('en')}</span>`)}
</div><span class="plot-unit">ms</span></div>`;
};
