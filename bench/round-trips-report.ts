/** round-trips.md and round-trips.svg. */
import { median, spread } from './support/statistics.ts';

/** One stack at one delay and loss. */
export interface Cell {
  readonly stack: string;
  /** Milliseconds. */
  readonly rtt: number;
  /** Per cent, each way. */
  readonly loss: number;
  /** How often it was to be measured. */
  readonly asked: number;
  /** Milliseconds. */
  readonly times: Readonly<Record<Figure, readonly number[]>>;
}

export type Figure = 'firstPing' | 'firstMebibyte';

export interface RoundTripRun {
  readonly cells: readonly Cell[];
  readonly command: string;
  readonly date: string;
  readonly machine: string;
}

export const FIGURES: readonly { readonly key: Figure; readonly title: string }[] = [
  { key: 'firstPing', title: 'To the first ping answered' },
  { key: 'firstMebibyte', title: 'To the last byte of 1 MiB' },
];

/** By loss, delay and stack, as the tables go. */
export const inOrder = (cells: readonly Cell[], stacks: readonly string[]): Cell[] =>
  cells.toSorted(
    (a, b) => a.loss - b.loss || a.rtt - b.rtt || stacks.indexOf(a.stack) - stacks.indexOf(b.stack),
  );

const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

const figure = (cell: Cell, key: Figure): string => {
  const times = cell.times[key];
  if (times.length === 0) return `0 of ${cell.asked} succeeded`;
  const some = times.length < cell.asked ? `; ${times.length} of ${cell.asked} succeeded` : '';
  const middle = median(times);
  const milliseconds = `${middle.toFixed(middle < 10 ? 1 : 0)} ms${some}`;
  return cell.rtt === 0 ? milliseconds : `${(middle / cell.rtt).toFixed(1)} (${milliseconds})`;
};

export const roundTripTable = ({ cells, command, date, machine }: RoundTripRun): string => {
  const stacks = distinct(cells.map(({ stack }) => stack));
  const tables = FIGURES.flatMap(({ key, title }) => [
    `## ${title}`,
    '',
    `| round trip | loss each way | ${stacks.join(' | ')} | times |`,
    `|---:|---:|${'---:|'.repeat(stacks.length)}---:|`,
    ...distinct(cells.map(({ loss }) => loss)).flatMap((loss) =>
      distinct(cells.map(({ rtt }) => rtt)).map((rtt) => {
        const row = stacks.map((stack) => {
          const cell = cells.find(
            (one) => one.stack === stack && one.rtt === rtt && one.loss === loss,
          );
          return cell === undefined ? '–' : figure(cell, key);
        });
        const times = cells.find((one) => one.rtt === rtt && one.loss === loss)?.asked ?? 0;
        return `| ${rtt} ms | ${loss} % | ${row.join(' | ')} | ${times} |`;
      }),
    ),
    '',
  ]);
  return `# Round trips

![Round trips by delay and loss](round-trips.svg)

\`${command}\`, ${date}; ${machine}. libp2p-lean with itself: QUIC on quinn (CUBIC), TCP of the Linux kernel
(Reno, initial window of 10 segments, in namespaces that remember nothing of earlier connections). Medians, in
round trips from the start of the dial, in parentheses milliseconds; processes that have made a connection before,
with the first claim on a CPU (chrt) where they may,
a new connection each time, as often as the last column says. All packets pass the seeded relay of the interop matrix ([docs/matrix.md](../docs/matrix.md)).

${tables.join('\n')}`;
};

const COLOURS = ['#2a78d6', '#c2571a', '#8a8a2a', '#7a4fb5'];
const PANEL = { width: 300, height: 220, left: 46, top: 70, gap: 34 };

/** A panel for each figure and loss: round trips by delay, a bar for each stack, quartiles as lines. */
export const roundTripChart = ({ cells, command, date }: RoundTripRun): string => {
  const measured = cells.filter(({ rtt, times }) => rtt > 0 && times.firstPing.length > 0);
  const stacks = distinct(measured.map(({ stack }) => stack));
  const losses = distinct(measured.map(({ loss }) => loss));
  const rtts = distinct(measured.map(({ rtt }) => rtt));
  const { width, height, left, top, gap } = PANEL;
  const shapes: string[] = [];
  const label = (x: number, y: number, words: string, more = ''): void =>
    void shapes.push(`<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${words}</text>`);
  FIGURES.forEach(({ key, title }, row) => {
    losses.forEach((loss, column) => {
      // A scale for each: at 5 % loss a transfer takes ten times as long as at 0.
      const most =
        1.08 *
        Math.max(
          ...measured
            .filter((cell) => cell.loss === loss)
            .map((cell) => spread(cell.times[key]).high / cell.rtt),
        );
      const x0 = left + column * (width + gap);
      const y0 = top + row * (height + 76);
      const y = (trips: number): number => y0 + height - (trips / most) * height;
      label(x0, y0 - 12, `${title}, ${loss} % loss`, 'class="title"');
      const step = most > 150 ? 40 : most > 60 ? 20 : most > 25 ? 10 : most > 12 ? 5 : 2;
      for (let tick = 0; tick <= most; tick += step) {
        shapes.push(
          `<line class="grid" x1="${x0}" x2="${x0 + width}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}"/>`,
        );
        label(x0 - 6, y(tick) + 4, String(tick), 'text-anchor="end"');
      }
      const slot = width / rtts.length;
      const bar = (slot - 22) / stacks.length;
      rtts.forEach((rtt, place) => {
        label(x0 + (place + 0.5) * slot, y0 + height + 16, `${rtt} ms`, 'text-anchor="middle"');
        stacks.forEach((stack, number) => {
          const cell = measured.find(
            (one) => one.stack === stack && one.rtt === rtt && one.loss === loss,
          );
          if (cell === undefined) return;
          const { median: middle, low, high } = spread(cell.times[key].map((ms) => ms / rtt));
          const x = x0 + place * slot + 11 + number * bar;
          const centre = (x + bar / 2 - 1).toFixed(1);
          shapes.push(
            `<rect x="${x.toFixed(1)}" y="${y(middle).toFixed(1)}" width="${(bar - 2).toFixed(1)}" height="${(y(0) - y(middle)).toFixed(1)}" fill="${COLOURS[number]}"><title>${stack}: ${middle.toFixed(1)}</title></rect>`,
            `<line class="whisker" x1="${centre}" x2="${centre}" y1="${y(low).toFixed(1)}" y2="${y(high).toFixed(1)}"/>`,
          );
          label(
            x + bar / 2 - 1,
            y(high) - 4,
            middle.toFixed(1),
            'text-anchor="middle" class="value"',
          );
        });
      });
    });
  });
  const full = left + losses.length * (width + gap);
  const tall = top + FIGURES.length * (height + 76) + 8;
  stacks.forEach((stack, number) => {
    shapes.push(
      `<rect x="${left + number * 190}" y="16" width="12" height="12" fill="${COLOURS[number]}"/>`,
    );
    label(left + number * 190 + 18, 27, stack);
  });
  label(
    left,
    tall - 12,
    `round trips from the start of the dial, by round-trip time; medians, lines: middle half. ${command}, ${date}`,
    'class="note"',
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${full} ${tall}" font-family="system-ui, sans-serif" font-size="12" fill="#333">
<title>Round trips of QUIC, TCP and WebSocket by delay and loss</title>
<style>.grid{stroke:#ddd}.whisker{stroke:#222;stroke-width:1.2}.title{font-size:14px;font-weight:600}.value{font-size:10px}.note{font-size:11px;fill:#666}</style>
<rect width="100%" height="100%" fill="#fff"/>
${shapes.join('\n')}
</svg>
`;
};
