/**
 * `results.html`: one self-contained page. The tables and plots are plain HTML and SVG, made here;
 * page.js adds what is interactive (details, filters, theme). The page requests nothing: its content
 * security policy forbids it.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { median } from 'd3-array';
import {
  axesOf,
  type Combination,
  combinationsOf,
  punchWord,
  relayedToDirect,
} from '../markdown.ts';
import { duration } from '../progress.ts';
import { type CellResult, type Results, succeeded, tellingLine, type Verdict } from '../results.ts';
import { boxPlots, milliseconds, type Series } from './box-plot.ts';
import { conditionsSection } from './conditions.ts';
import { embedded, html, type Markup, trusted } from './markup.ts';

interface Look {
  /** What a cell with this verdict is called. */
  readonly word: string;
  readonly legend: string;
  /** SVG path in a 16 × 16 box; told apart by shape, not by colour alone. */
  readonly path: string;
}

const LOOKS: Readonly<Record<Verdict, Look>> = {
  pass: { word: 'pass', legend: 'passed', path: 'M3.2 8.6 6.6 12 12.8 4.6' },
  fail: { word: 'FAIL', legend: 'failed', path: 'M4 4 12 12M12 4 4 12' },
  known: {
    word: 'known failure',
    legend: 'failed, as listed',
    path: 'M8 2.6 14 13.2H2ZM8 6.6v3M8 11.4v.2',
  },
  peer: {
    word: 'failed between peers',
    legend: 'failed between peers (not counted)',
    path: 'M8 2.4a5.6 5.6 0 1 0 .01 0ZM5.9 5.9 10.1 10.1M10.1 5.9 5.9 10.1',
  },
  'unexpected-pass': {
    word: 'passes, but is listed as failing',
    legend: 'passes, but is listed as failing',
    path: 'M5.4 5.6a2.6 2.6 0 1 1 3.6 2.4q-1 .5-1 1.8M8 12.6v.2',
  },
};
const VERDICTS = Object.keys(LOOKS) as Verdict[];

const icon = (verdict: Verdict): Markup =>
  html`<svg class="icon" aria-hidden="true" width="16" height="16"><use href="#${verdict}"/></svg>`;

const handshakeOf = (cell: CellResult): number | undefined =>
  median(cell.attempts.flatMap((attempt) => attempt.handshakePlusOneRttMs ?? []));

/** What a square shows: the handshake, or, in the NAT laboratory, the time from relayed to direct. */
const headlineOf = (cell: CellResult): number | undefined =>
  cell.relay === undefined ? handshakeOf(cell) : relayedToDirect(cell);

/** 0 for the fastest handshakes here, 1 for the slowest, on a logarithmic scale. */
const heatScale = (results: Results): ((value: number) => number) => {
  const logs = results.cells
    .flatMap((cell) => headlineOf(cell) ?? [])
    .map((value) => Math.log(Math.max(0.1, value)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  return (value) => (high > low ? (Math.log(Math.max(0.1, value)) - low) / (high - low) : 0);
};

const titleOf = ({ suite }: Results): string =>
  suite === 'hole-punch' ? 'libp2p through NATs' : 'libp2p interop matrix';

const short = (value: number): string => (value < 9.95 ? value.toFixed(1) : value.toFixed(0));

const matrix = (
  combination: Combination,
  results: Results,
  index: ReadonlyMap<string, number>,
  heat: (value: number) => number,
  ours: ReadonlySet<string>,
): Markup => {
  const { title, rows, columns, at, cells } = combination;
  const { rowWord, columnWord } = axesOf(results);
  const passed = cells.filter((cell) => cell.status === 'pass').length;
  const head = (id: string) => (ours.has(id) ? 'ours' : '');
  let first = true;
  const square = (row: string, column: string): Markup => {
    const cell = at(row, column);
    if (cell === undefined) return html`<td class="none" aria-label="not run">·</td>`;
    const handshake = headlineOf(cell);
    const detail =
      cell.relay === undefined
        ? handshake === undefined
          ? ''
          : `, handshake ${milliseconds(handshake)} ms`
        : `,${punchWord(cell)}`;
    const label = `${cell.relay === undefined ? '' : `${row}, `}${cell.dialer} dials ${cell.listener}: ${LOOKS[cell.verdict].word}${detail}`;
    const stop = first ? '0' : '-1';
    first = false;
    return html`<td><button type="button" class="cell ${cell.verdict}" tabindex="${stop}" data-i="${index.get(cell.name)}" aria-label="${label}" title="${label}"
 style="--heat:${(handshake === undefined ? 0 : heat(handshake) * 100).toFixed(0)}%">${icon(cell.verdict)}<small>${handshake === undefined ? (punchWord(cell) === '' ? '' : 'relay') : short(handshake)}</small></button></td>`;
  };
  return html`
<figure class="matrix" data-combination="${title}">
<figcaption><h3>${title}</h3><span class="count">${passed} of ${cells.length}</span></figcaption>
<div class="scroll" tabindex="-1"><table aria-label="${title}: ${rowWord}s in rows, ${columnWord}s in columns">
<thead><tr><th class="corner"><span>${rowWord} ↓</span><span>${columnWord} →</span></th>
${columns.map((id) => html`<th scope="col" class="${head(id)}" data-impl="${id}"><span>${id}</span></th>`)}
</tr></thead><tbody>
${rows.map(
  (row) => html`<tr><th scope="row" class="${head(row)}" data-impl="${row}">${row}</th>
${columns.map((column) => square(row, column))}</tr>`,
)}
</tbody></table></div></figure>`;
};

const failureItem = (cell: CellResult, index: ReadonlyMap<string, number>): Markup => {
  const attempt = cell.attempts.find(({ failure }) => failure !== null);
  const line = attempt === undefined ? undefined : tellingLine(attempt);
  const why =
    cell.verdict === 'unexpected-pass'
      ? 'passes now: take it off known-failures.yaml'
      : (cell.known?.reason ?? attempt?.failure?.message);
  return html`<li data-dialer="${cell.dialer}" data-listener="${cell.listener}"><button type="button" class="failure ${cell.verdict}" data-i="${index.get(cell.name)}">
${icon(cell.verdict)}<span class="failure-name">${cell.name}</span><span class="failure-why">${why}</span>
${line === undefined ? '' : html`<code>${line}</code>`}</button></li>`;
};

/** Failures that fail the run are shown; those that are accounted for are folded. */
const failureLists = (results: Results, index: ReadonlyMap<string, number>): Markup | undefined => {
  const of = (...verdicts: Verdict[]) =>
    results.cells.filter(({ verdict }) => verdicts.includes(verdict));
  const list = (cells: readonly CellResult[]) =>
    html`<ul class="failures">${cells.map((cell) => failureItem(cell, index))}</ul>`;
  const counted = of('fail', 'unexpected-pass');
  const folded = (title: string, cells: readonly CellResult[]) =>
    cells.length === 0
      ? ''
      : html`<details><summary>${title} <span class="count">${cells.length}</span></summary>${list(cells)}</details>`;
  if (counted.length + of('known', 'peer').length === 0) return undefined;
  return html`<section id="failures">
${counted.length === 0 ? '' : html`<h2>Failures <span class="count">${counted.length}</span></h2>${list(counted)}`}
${folded('Known failures, with their evidence', of('known'))}
${folded('Failures between peers, not counted', of('peer'))}
</section>`;
};

/** Measurements by implementation and transport, and over all transports. */
const seriesOf = (
  { cells, implementations }: Results,
  side: 'dialer' | 'listener',
  pick: (attempt: CellResult['attempts'][number]) => number | null,
): Series[] => {
  const plain = cells.filter(({ condition }) => condition === null);
  const transports = [...new Set(plain.map((cell) => cell.transport))];
  return implementations.flatMap(({ id, ours }) =>
    ['all', ...transports].map((transport) => ({
      label: id,
      transport,
      emphasis: ours,
      values: plain
        .filter(
          (cell) => cell[side] === id && (transport === 'all' || cell.transport === transport),
        )
        .flatMap((cell) => cell.attempts.flatMap((attempt) => pick(attempt) ?? [])),
    })),
  );
};

const latency = (results: Results): Markup => {
  const transports = [...new Set(combinationsOf(results).map(({ transport }) => transport)), 'all'];
  // `:has` shows the rows of the chosen transport: works without a script.
  const rules = transports
    .map(
      (transport) =>
        `#latency:has(#t-${transport}:checked) .plot-row:not([data-transport="${transport}"]){display:none}`,
    )
    .join('\n');
  const choices = transports.map(
    (transport, place) =>
      html`<label><input type="radio" name="transport" id="t-${transport}"${place === 0 ? trusted(' checked') : ''}><span>${transport === 'all' ? 'all transports' : transport}</span></label>`,
  );
  const panel = (title: string, note: string, series: readonly Series[]) =>
    html`<figure class="panel"><figcaption><h3>${title}</h3><p>${note}</p></figcaption>${boxPlots(series)}</figure>`;
  return html`<section id="latency"><h2>Latency</h2>
<style>${trusted(rules)}</style>
<fieldset class="segments"><legend class="visually-hidden">Transport</legend>${choices}</fieldset>
<div class="panels">
${panel(
  'Handshake + 1 RTT',
  'by dialer, against every listener; cold processes',
  seriesOf(results, 'dialer', (attempt) => attempt.handshakePlusOneRttMs),
)}
${panel(
  'Ping RTT',
  'by dialer, against every listener',
  seriesOf(results, 'dialer', (attempt) => attempt.pingRttMs),
)}
${
  results.suite === 'hole-punch'
    ? panel(
        'Relayed to direct',
        'by dialer, with every listener: from the relayed connection to the direct one',
        seriesOf(results, 'dialer', (attempt) => attempt.holePunch?.relayedToDirectMs ?? null),
      )
    : panel(
        'Start to address published',
        'by listener: from starting the process until its address is in Redis',
        seriesOf(results, 'listener', (attempt) => attempt.listenerReadyMs),
      )
}
</div></section>`;
};

const implementationTable = (
  results: Results,
): Markup => html`<section id="implementations"><h2>Implementations</h2>
<div class="scroll"><table class="plain"><thead><tr><th>Implementation</th><th>Version</th><th>Transports</th><th>Secure channels</th><th>Muxers</th><th>Cells passed</th></tr></thead><tbody>
${results.implementations.map((one) => {
  const cells = results.cells.filter((cell) => cell.dialer === one.id || cell.listener === one.id);
  const passed = cells.filter((cell) => cell.status === 'pass').length;
  const transports = one.transports.map((name) =>
    one.dialOnly.includes(name) ? `${name} (dials only)` : name,
  );
  return html`<tr class="${one.ours ? 'ours' : ''}" data-impl="${one.id}"><th scope="row">${one.id}</th><td>${one.version ?? (one.ours ? 'this checkout' : '–')}</td>
<td>${transports.join(', ')}</td><td>${one.secureChannels.join(', ') || '–'}</td><td>${one.muxers.join(', ') || '–'}</td>
<td>${one.skipped === null ? `${passed} of ${cells.length}` : html`<em>skipped: ${one.skipped}</em>`}</td></tr>`;
})}
</tbody></table></div></section>`;

const verdictLine = (results: Results): string => {
  const { summary } = results;
  const counted = summary.failed - summary.known - summary.peer;
  if (results.interrupted !== null) return 'The run is not complete';
  if (summary.total === 0) return 'Nothing was run';
  if (succeeded(results)) {
    if (summary.failed === 0) return `All ${summary.total} cells pass`;
    const own = results.cells.filter(({ ours }) => ours).length;
    return summary.known === 0
      ? `All ${own} cells of ours pass`
      : `${own - summary.known} of our ${own} cells pass, the others are known failures`;
  }
  return [
    ...(counted > 0
      ? [`${counted} of ${summary.total} cells ${counted === 1 ? 'fails' : 'fail'}`]
      : []),
    ...(summary.unexpectedPasses > 0
      ? [`${summary.unexpectedPasses} on the list of known failures pass`]
      : []),
  ].join(', ');
};

const meter = (results: Results): Markup => {
  const counts = VERDICTS.map((verdict) => ({
    verdict,
    count: results.cells.filter((cell) => cell.verdict === verdict).length,
  })).filter(({ count }) => count > 0);
  return html`<div class="meter" aria-hidden="true">${counts.map(({ verdict, count }) => html`<i class="${verdict}" style="flex-grow:${count}"></i>`)}</div>
<ul class="legend">${counts.map(({ verdict, count }) => html`<li class="${verdict}">${icon(verdict)}<b>${count}</b> ${LOOKS[verdict].legend}</li>`)}</ul>`;
};

const chips = (results: Results): Markup =>
  html`<nav class="controls" aria-label="Filters"><div class="chips" role="group" aria-label="Implementations">
<button type="button" class="chip" data-all aria-pressed="true">all</button>
${results.implementations
  .filter(({ skipped }) => skipped === null)
  .map(
    ({ id, ours }) =>
      html`<button type="button" class="chip ${ours ? 'ours' : ''}" data-filter="${id}" aria-pressed="false">${id}</button>`,
  )}
</div><button type="button" class="chip" id="only-failures" aria-pressed="false">${icon('fail')} only what is not green</button></nav>`;

/** What page.js needs to know about a cell. */
const detailOf = (cell: CellResult) => ({
  ...cell,
  word: LOOKS[cell.verdict].word,
});

const summaryText = (results: Results): string => {
  const { options, host } = results;
  return [
    new Date(results.startedAt).toISOString().slice(0, 16).replace('T', ' '),
    `took ${duration(Date.parse(results.completedAt) - Date.parse(results.startedAt))}`,
    `${host.os} ${host.arch}, ${host.cpus} CPUs`,
    options.exec === 'docker' ? 'as containers' : 'as processes',
    ...(options.dialect === 'legacy' ? ['legacy dialect'] : []),
    ...(results.shards.length > 0
      ? [`${results.shards.length} of ${results.shards[0]?.count} shards`]
      : []),
  ].join(' · ');
};

/**
 * Renders the page.
 *
 * @param logs excerpts of the logs by their path in `results`
 */
export const renderDashboard = async (
  results: Results,
  logs: ReadonlyMap<string, string>,
): Promise<string> => {
  const read = (name: string) => readFile(new URL(name, import.meta.url), 'utf8');
  const [style, script] = await Promise.all([read('page.css'), read('page.js')]);
  const hash = createHash('sha256').update(script).digest('base64');
  const index = new Map(results.cells.map((cell, place) => [cell.name, place]));
  const ours = new Set(results.implementations.filter((one) => one.ours).map(({ id }) => id));
  const heat = heatScale(results);
  const combinations = combinationsOf(results);
  const byTransport = Map.groupBy(combinations, ({ transport }) => transport);
  const good = succeeded(results);
  const packed = gzipSync(JSON.stringify(Object.fromEntries(logs)), { level: 9 }).toString(
    'base64',
  );
  const filters = Object.entries(results.options.filters);
  return `${
    html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<title>${verdictLine(results)} · ${titleOf(results)}</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='${good ? '%232a9d6f' : '%23d0392b'}'/%3E%3Cpath d='${good ? 'M4 8.4 7 11.2 12 5' : 'M5 5l6 6M11 5l-6 6'}' fill='none' stroke='white' stroke-width='2' stroke-linecap='round'/%3E%3C/svg%3E">
<style>${trusted(style)}</style>
</head>
<body>
<svg width="0" height="0" class="visually-hidden" aria-hidden="true"><defs>
${VERDICTS.map((verdict) => html`<symbol id="${verdict}" viewBox="0 0 16 16"><path d="${LOOKS[verdict].path}" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round"/></symbol>`)}
</defs></svg>
<a class="skip" href="#matrix">Skip to the matrix</a>
<header class="hero">
<div class="brand"><span>${titleOf(results)}</span><button type="button" id="theme" aria-label="Theme">◐ <span>auto</span></button></div>
<h1 class="${good ? 'good' : 'bad'}">${icon(good ? 'pass' : 'fail')} ${verdictLine(results)}</h1>
${results.interrupted === null ? '' : html`<p class="notice">${results.interrupted}</p>`}
<p class="meta">${summaryText(results)}</p>
${filters.length === 0 ? '' : html`<p class="meta">selected by ${filters.map(([flag, value]) => html`<code>${flag} '${value}'</code> `)}</p>`}
${meter(results)}
</header>
${chips(results)}
<main>
${failureLists(results, index)}
${
  combinations.length === 0
    ? ''
    : html`<section id="matrix"><h2>Matrix</h2><p class="quiet">${
        results.suite === 'hole-punch'
          ? 'Rows are the NATs of dialer and listener; the number is the time from the relayed connection to the direct one in milliseconds, “relay” where it stayed relayed.'
          : 'Rows dial, columns listen; the number is handshake + 1 RTT in milliseconds, and the deeper the green, the faster.'
      } Open a cell for its measurements, commands and logs.</p>
${[...byTransport].map(
  ([transport, group]) =>
    html`<section class="transport" id="transport-${transport}"><div class="matrices">${group.map((combination) => matrix(combination, results, index, heat, ours))}</div></section>`,
)}
</section>`
}
<p class="quiet" id="nothing" hidden>No cell is left by these filters.</p>
${conditionsSection(results, index, ours)}
${combinations.length === 0 ? '' : latency(results)}
${implementationTable(results)}
</main>
<footer>Made by <code>libp2p-lean-matrix</code>. The figures behind this page are in <code>results.json</code>, the full logs in <code>logs/</code> beside it.</footer>
<dialog id="detail" aria-labelledby="detail-name"></dialog>
<script type="application/json" id="cells">${embedded(results.cells.map(detailOf))}</script>
<script type="text/plain" id="logs">${trusted(packed)}</script>
<script>${trusted(script)}</script>
</body>
</html>`.markup
  }\n`;
};
