/** The page of one timeline: a line for each event, dialer and listener told apart by column and colour. */
import { printable } from '../../../src/printable.ts';
import type { Role } from '../results.ts';
import { html, trusted } from './markup.ts';

export interface TimelineEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly role: Role;
  /** `out`, `err`, or the name of a qlog file. */
  readonly source: string;
  readonly text: string;
}

const STYLE = `
:root { color-scheme: light dark; font: 13px/1.5 ui-monospace, monospace; }
body { margin: 1.5rem; }
h1 { font: 600 1.1rem/1.3 system-ui, sans-serif; }
p { font: 0.9rem/1.4 system-ui, sans-serif; max-width: 60rem; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 0.1rem 0.6rem 0.1rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:nth-child(2), td:nth-child(3) { white-space: nowrap; }
tr { border-left: 4px solid transparent; }
tr.dialer { border-color: #2a7fd0; }
tr.listener { border-color: #d08a2a; }
tr.listener td:nth-child(2) { padding-left: 2rem; }
tr.qlog { opacity: 0.75; }
tr.end { font-weight: 700; }`;

const MAX_TEXT = 2_000;

const kindOf = ({ source }: TimelineEvent): string =>
  source === 'out' || source === 'err' || source === 'end' ? source : 'qlog';

/** @param left events that are not among `events`, as there were too many */
export const renderTimeline = (
  title: string,
  events: readonly TimelineEvent[],
  left: number,
): string => {
  const first = events[0]?.at ?? 0;
  const row = (event: TimelineEvent) =>
    html`<tr class="${event.role} ${kindOf(event)}"><td>${(event.at - first).toFixed(1)}</td><td>${event.role}</td><td>${kindOf(event)}</td><td>${printable(event.text, MAX_TEXT)}</td></tr>`;
  return `${
    html`<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title><style>${trusted(STYLE)}</style></head><body>
<h1>${title}</h1>
<p>Both sides' log lines and qlog events by time, in milliseconds from the first at ${new Date(first).toISOString()}.
A trace that does not say when it began counts from when its file was made.${left > 0 ? ` ${left} more were left out.` : ''}</p>
<table><thead><tr><th>ms</th><th>side</th><th>from</th><th></th></tr></thead><tbody>
${events.map((event) => [row(event), '\n'])}
</tbody></table></body></html>`.markup
  }\n`;
};
