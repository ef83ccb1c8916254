/**
 * `results.md`: the matrix tables as unified-testing's dashboard prints them
 * (transport/lib/generate-dashboard.sh there), then what failed and why, then every test.
 */
import { median } from 'd3-array';
import { printable } from '../../src/printable.ts';
import { duration } from './progress.ts';
import type { CellResult, Results, Verdict } from './results.ts';
import { conditionTables, passesOf } from './under-conditions.ts';

/** Characters of one message. */
const MAX_TEXT = 1_000;

export const ICONS: Readonly<Record<Verdict, string>> = {
  pass: '✅',
  fail: '❌',
  known: '⚠️',
  peer: '➖❌',
  'unexpected-pass': '❗',
};

/** Cells of one transport + secure channel + muxer; in the NAT laboratory also of one relay. */
export interface Combination {
  readonly title: string;
  readonly transport: string;
  readonly rows: readonly string[];
  readonly columns: readonly string[];
  at(row: string, column: string): CellResult | undefined;
  readonly cells: readonly CellResult[];
}

/** What the tables have in their rows and columns. */
export interface Axes {
  readonly row: (cell: CellResult) => string;
  readonly column: (cell: CellResult) => string;
  readonly rowWord: string;
  readonly columnWord: string;
}

/** Dialers and listeners; in the NAT laboratory, pairs of NATs and pairs of participants. */
export const axesOf = (results: Results): Axes =>
  results.suite === 'hole-punch'
    ? {
        row: ({ nats }) => `${nats?.dialer} to ${nats?.listener}`,
        column: ({ dialer, listener }) => `${dialer} x ${listener}`,
        rowWord: 'NATs',
        columnWord: 'dialer x listener',
      }
    : {
        row: ({ dialer }) => dialer,
        column: ({ listener }) => listener,
        rowWord: 'dialer',
        columnWord: 'listener',
      };

/** Groups cells without a network condition by what they run over; implementations keep the order of the capability file. */
export const combinationsOf = (results: Results): Combination[] => {
  const order = results.implementations.map(({ id }) => id);
  const { row, column } = axesOf(results);
  const groups = new Map<string, CellResult[]>();
  for (const cell of results.cells.filter(({ condition }) => condition === null)) {
    const title = [cell.transport, cell.secureChannel, cell.muxer]
      .filter((part) => part !== null)
      .join(' + ');
    const key = cell.relay === undefined ? title : `${title}, relay ${cell.relay}`;
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  }
  /** The values that occur, in the order of the implementations; others in order of appearance. */
  const values = (cells: readonly CellResult[], of: (cell: CellResult) => string): string[] => {
    const found = [...new Set(cells.map(of))];
    return found.every((value) => order.includes(value))
      ? order.filter((id) => found.includes(id))
      : found;
  };
  return [...groups]
    .map(([title, cells]) => {
      const places = new Map(cells.map((cell) => [`${row(cell)}\0${column(cell)}`, cell]));
      return {
        title,
        transport: cells[0]?.transport ?? title,
        rows: values(cells, row),
        columns: values(cells, column),
        at: (atRow: string, atColumn: string) => places.get(`${atRow}\0${atColumn}`),
        cells,
      };
    })
    .sort((a, b) => rank(a.transport) - rank(b.transport));
};

/** QUIC first, as this project is about QUIC. */
const rank = (transport: string): number => {
  const place = ['quic-v1', 'tcp', 'ws', 'wss'].indexOf(transport);
  return place === -1 ? 99 : place;
};

/** Text that came from a peer must not break a table or become markup, a link for instance. */
const escapeCell = (text: string): string =>
  printable(text.replaceAll(/\s+/g, ' '), MAX_TEXT)
    .replaceAll(/[\\|[\]]/g, '\\$&')
    .replaceAll('<', '&lt;')
    .replaceAll('`', "'");

/** The same between backticks, where nothing else is markup. */
const escapeCode = (text: string): string =>
  printable(text.replaceAll(/\s+/g, ' '), MAX_TEXT).replaceAll('`', "'");

const fixed = (value: number | null | undefined): string =>
  value == null ? '-' : value.toFixed(3);

/** Median from the relayed connection to the direct one, ms; undefined where there was none. */
export const relayedToDirect = (cell: CellResult): number | undefined =>
  median(cell.attempts.flatMap(({ holePunch }) => holePunch?.relayedToDirectMs ?? []));

/** How often a cell got a direct connection, and how often it stayed relayed. */
export const punchCounts = (cell: CellResult): { direct: number; relayed: number } => {
  const count = (connection: 'direct' | 'relayed') =>
    cell.attempts.filter(({ holePunch }) => holePunch?.connection === connection).length;
  return { direct: count('direct'), relayed: count('relayed') };
};

/** ` 123 ms`, ` relayed`, ` 3 of 20, 123 ms`; nothing outside of the NAT laboratory. */
export const punchWord = (cell: CellResult): string => {
  if (cell.relay === undefined) return '';
  const { direct, relayed } = punchCounts(cell);
  const ms = relayedToDirect(cell);
  if (ms === undefined) return relayed > 0 ? ' relayed' : '';
  return `${relayed > 0 ? ` ${direct} of ${direct + relayed},` : ''} ${ms.toFixed(0)} ms`;
};

/** The whole file. */
export const renderMarkdown = (results: Results): string => {
  const { summary, options, host } = results;
  const rate = summary.total === 0 ? '0.0' : ((summary.passed * 100) / summary.total).toFixed(1);
  const lines: string[] = [];
  const add = (...more: string[]) => lines.push(...more);
  add(
    results.suite === 'hole-punch'
      ? '# Hole Punch Interoperability Test Results'
      : '# Transport Interoperability Test Results',
    '',
    '**Summary:**',
    `- **Total Tests:** ${summary.total}`,
    `- **Passed:** ✅ ${summary.passed}`,
    `- **Failed:** ❌ ${summary.failed}`,
  );
  if (summary.known > 0) add(`  - listed in known-failures.yaml: ${summary.known}`);
  if (summary.peer > 0) add(`  - between peers, none of them ours: ${summary.peer}`);
  if (summary.unexpectedPasses > 0)
    add(`- **Passed, but listed as known failures:** ❗ ${summary.unexpectedPasses}`);
  add(
    `- **Pass Rate:** ${rate}%`,
    '',
    '**Environment:**',
    `- **Platform:** ${host.arch}`,
    `- **OS:** ${host.os}`,
    `- **Workers:** ${options.workers}`,
    `- **Run as:** ${options.exec}, ${options.dialect} dialect`,
    `- **Duration:** ${duration(Date.parse(results.completedAt) - Date.parse(results.startedAt))}`,
    '',
    '**Timestamps:**',
    `- **Started:** ${results.startedAt}`,
    `- **Completed:** ${results.completedAt}`,
    '',
  );
  if (results.interrupted !== null)
    add(`> **The run is not complete:** ${escapeCell(results.interrupted)}`, '');
  const skipped = results.implementations.filter(
    (implementation) => implementation.skipped !== null,
  );
  if (skipped.length > 0) {
    add(
      '**Not run here:**',
      ...skipped.map(({ id, skipped: why }) => `- ${id}: ${escapeCell(why ?? '')}`),
      '',
    );
  }
  for (const { title, conditions, rows } of conditionTables(results)) {
    add(
      `## Network conditions: ${title}`,
      '',
      `Attempts that succeeded, median of handshake + 1 RTT in ms; seed ${options.seed}.`,
      '',
      `| | ${conditions.join(' | ')} |`,
      `|---|${'---|'.repeat(conditions.length)}`,
    );
    for (const [pair, cells] of rows) {
      const row = conditions.map((name) => {
        const cell = cells.get(name);
        if (cell === undefined) return '-';
        const time = median(cell.attempts.flatMap((one) => one.handshakePlusOneRttMs ?? []));
        return `${passesOf(cell)}/${cell.attempts.length}${time === undefined ? '' : `, ${time.toFixed(0)}`}`;
      });
      add(`| **${pair}** | ${row.join(' | ')} |`);
    }
    add('');
  }
  const combinations = combinationsOf(results);
  if (combinations.length > 0) {
    add('---', '', '## Matrix View by Transport + Secure Channel + Muxer', '');
  }
  const corner = results.suite === 'hole-punch' ? 'NATs' : 'Dialer \\ Listener';
  for (const { title, rows, columns, at } of combinations) {
    add(
      `### ${title}`,
      '',
      `| ${corner} | ${columns.join(' | ')} |`,
      `|---|${'---|'.repeat(columns.length)}`,
    );
    for (const row of rows) {
      const squares = columns.map((column) => {
        const cell = at(row, column);
        return cell === undefined ? '-' : `${ICONS[cell.verdict]}${punchWord(cell)}`;
      });
      add(`| **${row}** | ${squares.join(' | ')} |`);
    }
    add('');
  }
  add(
    '---',
    '',
    '## Legend',
    '',
    `- ${ICONS.pass} Test passed`,
    `- ${ICONS.fail} Test failed`,
    `- ${ICONS.known} Test failed, as listed in known-failures.yaml`,
    `- ${ICONS.peer} Test failed between two peers; shown, not counted`,
    `- ${ICONS['unexpected-pass']} Test passed, but is listed in known-failures.yaml`,
    '- **-** No test run for this combination',
    ...(results.suite === 'hole-punch'
      ? [
          '- ms: from the relayed connection to the direct one, the median; relayed: it stayed relayed',
        ]
      : ['- Dialers are the rows, listeners the columns']),
    '',
  );
  const failed = results.cells.filter((cell) => cell.verdict !== 'pass');
  if (failed.length > 0) {
    add('---', '', '## Failures', '');
    for (const cell of failed) {
      add(`### ${ICONS[cell.verdict]} ${cell.name}`, '');
      if (cell.known !== null)
        add(`- known: ${escapeCell(cell.known.reason)} (${escapeCell(cell.known.evidence)})`);
      const attempt = cell.attempts.find(({ failure }) => failure !== null);
      if (attempt?.failure) {
        add(`- ${escapeCell(attempt.failure.message)}`);
        for (const role of ['dialer', 'listener', 'relay'] as const) {
          const side = attempt[role];
          if (side === undefined) continue;
          for (const line of side.errorLines) add(`- ${role}: \`${escapeCode(line)}\``);
          add(`- ${role} log: ${side.log}`);
        }
      }
      if (cell.retry?.trace !== undefined) {
        const how = cell.retry.failure?.message ?? 'it passed';
        add(`- once more, with traces: ${escapeCell(how)}; timeline: ${cell.retry.trace.timeline}`);
      }
      add('');
    }
  }
  add(
    '---',
    '',
    '## Test Results',
    '',
    '| Test | Dialer | Listener | Transport | Secure | Muxer | Status | Duration | Handshake+RTT (ms) | Ping RTT (ms) |',
    '|------|--------|----------|-----------|--------|-------|--------|----------|-------------------|---------------|',
  );
  for (const cell of results.cells) {
    const attempt = cell.attempts.at(-1);
    const columns = [
      cell.name,
      cell.dialer,
      cell.listener,
      cell.transport,
      cell.secureChannel ?? '-',
      cell.muxer ?? '-',
      ICONS[cell.verdict],
      `${Math.round((attempt?.durationMs ?? 0) / 1000)}s`,
      fixed(attempt?.handshakePlusOneRttMs),
      fixed(attempt?.pingRttMs),
    ];
    add(`| ${columns.join(' | ')} |`);
  }
  return `${lines.join('\n')}\n\n---\n\n*Generated: ${results.completedAt}*\n`;
};
