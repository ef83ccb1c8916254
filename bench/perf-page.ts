/** perf.html: the figures of perf.md as bars, one self-contained page. */

import {
  alone,
  FIGURE_TEXTS,
  type PairResult,
  type PerfRun,
  type Sample,
  valuesOf,
} from './perf-table.ts';
import { median, spread } from './support/statistics.ts';

/** One bar: a value, its quartiles, its label and its colour. */
interface Bar {
  readonly label: string;
  readonly kind: 'ours' | 'mixed' | 'other' | 'raw';
  readonly median: number;
  readonly low: number;
  readonly high: number;
  /** Where a second part of the bar begins, for sums. */
  readonly split?: number;
}

interface Chart {
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  readonly better: 'more' | 'less';
  readonly bars: readonly Bar[];
}

const LABEL = 268;
const PLOT = 360;
const VALUE = 76;
const ROW = 24;

export const perfPage = (run: PerfRun): string => {
  const transports = [...new Set(run.results.map(({ transport }) => transport))].filter(
    (it) => it !== 'udp',
  );
  const sections = transports.map((transport) => {
    const name = transport === 'tcp' ? 'tcp, noise, yamux' : transport;
    const charts = [...figureCharts(run, transport), costChart(run, transport)];
    return `<section><h2>${escaped(name)}</h2><div class="charts">${charts.map(chartOf).join('')}</div></section>`;
  });
  const mebibytes = run.bytes / 2 ** 20;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>libp2p-lean: performance</title>
<style>${CSS}</style>
<main>
<h1>Performance</h1>
<p class="note"><code>${escaped(run.command)}</code>, ${run.date}. ${escaped(run.machine)}; load average
${run.load[0].toFixed(1)} before, ${run.load[1].toFixed(1)} after. Two processes over loopback share these
cores. Medians of ${run.rounds} interleaved rounds of ${mebibytes} MiB transfers; thin lines span the
middle half. A name alone is an implementation with itself; an arrow points from dialer to listener.</p>
<ul class="legend">
<li><i class="ours"></i>libp2p-lean with itself</li>
<li><i class="mixed"></i>libp2p-lean with another</li>
<li><i class="other"></i>others with themselves</li>
<li><i class="raw"></i>raw sockets of Node.js</li>
</ul>
${sections.join('\n')}
<p class="note">The same as tables: <a href="perf.md">perf.md</a>.</p>
</main>
</html>
`;
};

const kindOf = (result: PairResult): Bar['kind'] => {
  if (result.dialer.startsWith('node:')) return 'raw';
  if (!result.ours || result.before !== undefined) return 'other';
  return result.dialer === result.listener ? 'ours' : 'mixed';
};

const labelOf = ({ dialer, listener }: PairResult): string =>
  dialer === listener ? dialer : `${dialer} → ${listener}`;

const figureCharts = (run: PerfRun, transport: string): Chart[] =>
  FIGURE_TEXTS(run).map(({ name, title, unit, digits, better }) => {
    const bars = run.results
      .filter((it) => it.transport === transport || (transport !== 'tcp' && isRawUdp(it)))
      .filter((it) => valuesOf(it, name).length > 0)
      .map((it): Bar => ({ label: labelOf(it), kind: kindOf(it), ...spread(valuesOf(it, name)) }))
      .sort((a, b) => (better === 'more' ? b.median - a.median : a.median - b.median));
    return { title, unit, digits, better, bars };
  });

const isRawUdp = ({ dialer }: PairResult): boolean => dialer === 'node:dgram';

/** Both processes of an upload, each implementation with itself. */
const costChart = (run: PerfRun, transport: string): Chart => {
  const names = [...new Set(run.results.map(({ dialer }) => dialer))];
  const raw = run.results.filter((it) => transport !== 'tcp' && isRawUdp(it));
  const selves = names.flatMap((name) => alone(run, transport, name) ?? []);
  const bars = [...selves, ...raw]
    .map((result): Bar => {
      const of = (side: 0 | 1): number =>
        median((result.figures.upload ?? []).map(({ cpu }: Sample) => cpu?.[side] ?? 0));
      const both = of(0) + of(1);
      const label = result.dialer;
      return { label, kind: kindOf(result), median: both, low: both, high: both, split: of(0) };
    })
    .sort((a, b) => a.median - b.median);
  const title = 'CPU of an upload, dialer and listener';
  return { title, unit: 's/GiB', digits: 2, better: 'less', bars };
};

const chartOf = ({ title, unit, digits, better, bars }: Chart): string => {
  const most = Math.max(...bars.map(({ high }) => high));
  const scale = (value: number): number => (value / most) * PLOT;
  const height = bars.length * ROW + 4;
  const rows = bars.map((bar, index) => {
    const y = index * ROW + 4;
    const middle = y + 8;
    const end = scale(bar.median);
    const shown = bar.median.toFixed(digits);
    const detail =
      bar.low < bar.high ? ` (${bar.low.toFixed(digits)}–${bar.high.toFixed(digits)})` : '';
    const first = bar.split === undefined ? end : scale(bar.split);
    return [
      `<g class="${bar.kind}"><title>${escaped(`${bar.label}: ${shown}${detail} ${unit}`)}</title>`,
      `<text class="label" x="${LABEL - 10}" y="${middle + 4}">${escaped(bar.label)}</text>`,
      rect(LABEL, y, first, ''),
      bar.split === undefined ? '' : rect(LABEL + first + 2, y, end - first - 2, 'second'),
      bar.low < bar.high
        ? `<path d="M${round(LABEL + scale(bar.low))} ${middle}H${round(LABEL + scale(bar.high))}"/>`
        : '',
      `<text class="value" x="${round(LABEL + scale(Math.max(bar.median, bar.high)) + 8)}" y="${middle + 4}">${shown}</text></g>`,
    ].join('');
  });
  const width = LABEL + PLOT + VALUE;
  const hint = better === 'more' ? 'more is better' : 'less is better';
  return `<figure><figcaption>${escaped(title)} <span>${unit}, ${hint}</span></figcaption>
<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(`${title}, ${unit}`)}">${rows.join('\n')}</svg></figure>`;
};

const rect = (x: number, y: number, width: number, kind: string): string =>
  `<rect class="${kind}" x="${round(x)}" y="${y}" width="${round(Math.max(width, 1))}" height="16" rx="3"/>`;

const round = (value: number): string => value.toFixed(1);

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

const CSS = `
:root {
  color-scheme: light dark;
  --bg: light-dark(oklch(0.975 0.004 240), oklch(0.17 0.012 250));
  --surface: light-dark(#fff, oklch(0.215 0.014 250));
  --line: light-dark(oklch(0.9 0.008 240), oklch(0.32 0.016 250));
  --ink: light-dark(oklch(0.24 0.02 250), oklch(0.93 0.008 240));
  --soft: light-dark(oklch(0.47 0.02 250), oklch(0.72 0.015 240));
  --ours: light-dark(oklch(0.52 0.17 262), oklch(0.7 0.15 258));
  --mixed: light-dark(oklch(0.74 0.1 258), oklch(0.47 0.11 260));
  --other: light-dark(oklch(0.72 0.015 250), oklch(0.5 0.015 250));
  --raw: light-dark(oklch(0.9 0.01 250), oklch(0.31 0.015 250));
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 32px 20px 64px; }
h1, h2 { font-weight: 650; letter-spacing: -0.01em; margin: 0; }
h1 { font-size: 28px; }
h2 { font-size: 20px; margin: 36px 0 14px; }
.note { color: var(--soft); max-width: 78ch; margin: 10px 0 0; }
code { font: 0.92em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
a { color: var(--ours); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; list-style: none; padding: 0; margin: 18px 0 0; color: var(--soft); }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px; vertical-align: -1px; }
.legend .ours { background: var(--ours); } .legend .mixed { background: var(--mixed); }
.legend .other { background: var(--other); } .legend .raw { background: var(--raw); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 16px; align-items: start; }
figure { margin: 0; padding: 16px 18px 12px; background: var(--surface); border: 1px solid var(--line); border-radius: 12px; }
figcaption { font-weight: 600; margin-bottom: 8px; }
figcaption span { color: var(--soft); font-weight: 400; }
svg { display: block; width: 100%; height: auto; font-size: 13px; }
svg text { fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .label { text-anchor: end; fill: var(--soft); }
svg .ours .label { fill: var(--ink); font-weight: 600; }
svg path { stroke: var(--ink); stroke-width: 1.5; opacity: 0.55; }
svg .ours rect { fill: var(--ours); } svg .mixed rect { fill: var(--mixed); }
svg .other rect { fill: var(--other); } svg .raw rect { fill: var(--raw); }
svg rect.second { opacity: 0.55; }
@media (max-width: 620px) { svg { font-size: 17px; } }
`;
