/**
 * Selection patterns, by the rules of unified-testing (lib/lib-filter-engine.sh there): parts
 * joined by `|`; a part matches every name that contains it; `~name` stands for an alias; `!part`
 * stands for every name that does not match. First select (nothing given: all), then ignore.
 *
 * A part that matches nothing is an error here; unified-testing ignores it.
 */
import { MatrixError } from './error.ts';

const parts = (filter: string): string[] =>
  filter
    .split('|')
    .map((part) => part.replace(/^\\/, '').trim()) // a shell user may have written \!
    .filter((part) => part !== '');

/**
 * Resolves aliases and negations: what is left are plain substrings.
 *
 * @param names what negation chooses from
 * @throws MatrixError on an alias that is not defined
 */
export const expand = (
  filter: string,
  names: readonly string[],
  aliases: ReadonlyMap<string, string>,
): string[] => {
  const patterns = new Set<string>();
  for (const part of parts(filter)) {
    const [, not, alias] = /^(!?)~(.+)$/.exec(part) ?? [];
    if (alias !== undefined) {
      const value = aliases.get(alias);
      if (value === undefined) {
        throw new MatrixError(
          `unknown alias ~${alias}; there are ${[...aliases.keys()].map((name) => `~${name}`).join(', ') || 'none'}`,
        );
      }
      const expanded = expand(value, names, aliases);
      for (const pattern of not ? names.filter((name) => !matches(name, expanded)) : expanded) {
        patterns.add(pattern);
      }
    } else if (part.startsWith('!')) {
      for (const name of names) if (!name.includes(part.slice(1))) patterns.add(name);
    } else {
      patterns.add(part);
    }
  }
  return [...patterns];
};

/** Whether `name` contains one of `patterns`. */
export const matches = (name: string, patterns: readonly string[]): boolean =>
  patterns.some((pattern) => name.includes(pattern));

/**
 * Refuses parts that no name contains; the values of aliases may name what is not there.
 *
 * @param flag the flag's name, for the message
 * @param what what the names are, in the plural
 */
export const refuseUnknown = (
  flag: string,
  filter: string,
  names: readonly string[],
  what: string,
): void => {
  for (const part of parts(filter)) {
    const pattern = part.replace(/^!/, '');
    if (pattern.startsWith('~') || names.some((name) => name.includes(pattern))) continue;
    const listed =
      names.length <= 40 ? `; there are ${names.join(', ') || 'none'}` : '; see --list-tests';
    throw new MatrixError(`${flag}: "${pattern}" matches none of the ${what}${listed}`);
  }
};

/** The names that `select` keeps and `ignore` does not remove; undefined means "not given". */
export const narrow = (
  names: readonly string[],
  select: readonly string[] | undefined,
  ignore: readonly string[] | undefined,
): string[] =>
  names.filter(
    (name) =>
      (select === undefined || matches(name, select)) &&
      !(ignore !== undefined && matches(name, ignore)),
  );
