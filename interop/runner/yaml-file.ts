/** Reads YAML that people write: every error names the file, the line and the column. */
import { readFile } from 'node:fs/promises';
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from 'yaml';
import { messageOf } from '../../src/errors.ts';
import { MatrixError } from './error.ts';

/** A node of the document, or undefined where the file has nothing. */
export type YamlNode = unknown;

export interface YamlFile {
  readonly root: YamlNode;
  /** Throws a {@link MatrixError} that points at `node`. */
  fail(node: YamlNode, message: string): never;
  /** The entries of a map in file order; fails on anything else, and on keys not in `allowed`. */
  entries(node: YamlNode, what: string, allowed: readonly string[]): Map<string, YamlNode>;
  /** The items of a list; an absent node is an empty list. */
  items(node: YamlNode, what: string): readonly YamlNode[];
  /** A non-empty string. */
  text(node: YamlNode, what: string): string;
  /** `true` or `false`; an absent node is `false`. */
  flag(node: YamlNode, what: string): boolean;
}

const rangeOf = (node: YamlNode): number | undefined =>
  typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)
    ? (node.range[0] as number)
    : undefined;

/** Parses `path`. Throws {@link MatrixError} when it cannot be read or is not YAML. */
export const readYaml = async (path: string): Promise<YamlFile> => {
  let source: string;
  try {
    source = await readFile(path, 'utf8');
  } catch (error) {
    throw new MatrixError(`${path}: ${messageOf(error)}`);
  }
  return parseYaml(path, source);
};

/** The same for text in memory; errors call it `path`. */
export const parseYaml = (path: string, source: string): YamlFile => {
  const lines = new LineCounter();
  const document = parseDocument(source, {
    lineCounter: lines,
    uniqueKeys: true,
    prettyErrors: false,
  });
  const failAt = (offset: number, message: string): never => {
    const { line, col } = lines.linePos(offset);
    throw new MatrixError(`${path}:${line}:${col}: ${message}`);
  };
  const [problem] = document.errors;
  if (problem !== undefined) {
    failAt(problem.pos[0], problem.message.replace(/\s*\n[\s\S]*$/, ''));
  }
  const fail = (node: YamlNode, message: string): never => failAt(rangeOf(node) ?? 0, message);
  const entries = (node: YamlNode, what: string, allowed: readonly string[]) => {
    if (!isMap(node)) return fail(node, `${what} must be a map with ${allowed.join(', ')}`);
    const found = new Map<string, YamlNode>();
    for (const pair of (node as YAMLMap).items) {
      const key = isScalar(pair.key) ? String(pair.key.value) : '?';
      if (!allowed.includes(key)) {
        fail(pair.key, `${what}: unknown key "${key}"; it may have ${allowed.join(', ')}`);
      }
      // An empty value (`key:`) is a null scalar, which counts as absent.
      const value = isScalar(pair.value) && pair.value.value === null ? undefined : pair.value;
      found.set(key, value ?? undefined);
    }
    return found;
  };
  const items = (node: YamlNode, what: string) => {
    if (node === undefined || node === null) return [];
    if (!isSeq(node)) return fail(node, `${what} must be a list`);
    return node.items;
  };
  const text = (node: YamlNode, what: string) => {
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    if (typeof value !== 'string' || value.trim() === '')
      return fail(node, `${what} must be a text`);
    return value;
  };
  const flag = (node: YamlNode, what: string) => {
    if (node === undefined) return false;
    const value = isScalar(node) ? node.value : undefined;
    return typeof value === 'boolean' ? value : fail(node, `${what} must be true or false`);
  };
  return { root: document.contents ?? undefined, fail, entries, items, text, flag };
};
