/**
 * Makes untrusted text safe to print: what a peer, a name server or Redis says must not move the cursor, forge a
 * line, reverse the direction of text or fill the screen. All text from outside goes through here before it is printed.
 */

/** The default limit of one text, characters. */
const MAX_TEXT = 300;

/**
 * Control characters, format characters (those that change the direction of text and those that
 * cannot be seen among them), lone surrogates, separators of lines and paragraphs.
 */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** Most text. Checked first, as compiling `UNSAFE`, which V8 does at its first use, takes noticeable time. */
const PLAIN = /^[\x20-\x7e]*$/;

/**
 * `text` on one line, with unsafe characters escaped as `\n`, `\x1b`, `\u202e`, `\u{e0041}`, and with `…` in
 * place of what exceeds `limit` characters. Printable text stays as it is, so the function is idempotent.
 */
export const printable = (text: string, limit = MAX_TEXT): string => {
  const cut = text.length > limit ? `${withoutHalfPair(text.slice(0, limit))}…` : text;
  return PLAIN.test(cut) ? cut : cut.replace(UNSAFE, escapeCharacter);
};

/** `printable` text in quotation marks, with those inside escaped. */
export const quote = (text: string, limit?: number): string =>
  `"${printable(text, limit).replaceAll('"', '\\"')}"`;

/** `text` without a high surrogate at its end, which cutting may have left. */
const withoutHalfPair = (text: string): string => text.replace(/[\ud800-\udbff]$/, '');

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const escapeCharacter = (character: string): string => {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  if (code > 0xffff) return `\\u{${hex}}`;
  if (code > 0xff) return `\\u${hex.padStart(4, '0')}`;
  return SHORT[character] ?? `\\x${hex.padStart(2, '0')}`;
};
