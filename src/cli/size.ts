/** Numbers of bytes, and rates, as people write and read them. */

const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ...['k', 'm', 'g', 't'].flatMap((letter, index): [string, number][] => [
    [`${letter}b`, 1000 ** (index + 1)],
    [letter, 1024 ** (index + 1)],
    [`${letter}ib`, 1024 ** (index + 1)],
  ]),
]);

/** The bytes of `1GiB`, `1.5 MB`, `64K` (KiB) or `1000`; `undefined` for other forms and above 2^53 - 1. */
export const parseSize = (text: string): number | undefined => {
  const match = /^(\d{1,16}(?:\.\d{1,9})?) ?([kmgt]?i?b?)$/i.exec(text.trim());
  const unit = UNITS.get((match?.[2] ?? '').toLowerCase());
  if (match?.[1] === undefined || unit === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
};

/** `1 GiB`, `1.5 MiB`, `1000 B`: at most four digits. */
export const formatSize = (bytes: number): string => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`;
};

/** `1.23 Gbit/s`, with decimal units, as usual for networks. */
export const formatRate = (bytes: number, milliseconds: number): string => {
  const megabits = milliseconds > 0 ? (bytes * 8) / milliseconds / 1000 : 0;
  return megabits >= 1000
    ? `${(megabits / 1000).toFixed(2)} Gbit/s`
    : `${megabits.toFixed(1)} Mbit/s`;
};
