/** HTML from templates that escape every value: names and logs come from peers. */

/** A piece of markup that is safe as it is. */
export interface Markup {
  readonly markup: string;
}

type Value = string | number | Markup | null | undefined | false | readonly Value[];

export const escapeText = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

const render = (value: Value): string => {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escapeText(value);
  if (typeof value === 'number') return String(value);
  return 'markup' in value ? value.markup : value.map(render).join('');
};

/** A template whose texts are escaped; markup, and lists of it, go in as they are. */
export const html = (strings: TemplateStringsArray, ...values: readonly Value[]): Markup => ({
  markup: strings.reduce((out, string, index) => out + string + render(values[index]), '').trim(),
});

/** Text that is known to be markup: the page's own style and script. */
export const trusted = (markup: string): Markup => ({ markup });

/** JSON that can stand inside a script element. */
export const embedded = (value: unknown): Markup =>
  trusted(JSON.stringify(value).replaceAll('<', '\\u003c'));
