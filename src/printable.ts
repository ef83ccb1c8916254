/**
 * Text that is not ours, made fit to be printed: what a peer, a name server or Redis says must not
 * move the cursor, forge a line, turn text around or fill the screen. All that is printed for people
 * goes through here.
 */

/** Characters of one text, unless its printer says otherwise. */
const MAX_TEXT = 300;

/**
 * Control characters, format characters (those that change the direction of text and those that
 * cannot be seen among them), lone surrogates, separators of lines and paragraphs.
 */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
/** Compiling the pattern above takes its time. */
const PLAIN = /^[\x20-\x7e]*$/;

/**
 * `text` on one line, with what is unsafe as `\n`, `\x1b`, `\u202e`, `\u{e0041}`, and with `…` in place
 * of what is beyond `limit` characters. Printable text stays as it is, so twice is as good as once.
 */
export const printable = (text: string, limit = MAX_TEXT): string => {
  const cut = text.length > limit ? `${whole(text.slice(0, limit))}…` : text;
  return PLAIN.test(cut) ? cut : cut.replace(UNSAFE, escapeCharacter);
};

/** `printable` text between quotation marks, with those inside marked. */
export const quote = (text: string, limit?: number): string =>
  `"${printable(text, limit).replaceAll('"', '\\"')}"`;

/** A cut must not leave half of a character. */
const whole = (text: string): string => text.replace(/[\ud800-\udbff]$/, '');

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

const escapeCharacter = (character: string): string => {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  if (code > 0xffff) return `\\u{${hex}}`;
  if (code > 0xff) return `\\u${hex.padStart(4, '0')}`;
  return SHORT[character] ?? `\\x${hex.padStart(2, '0')}`;
};
