/** Which source file imports which, read from the sources; type-only imports count like the others. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The files each file imports. All paths are relative to the same root. */
export type ImportGraph = ReadonlyMap<string, readonly string[]>;

const SOURCE = /\.(?:ts|mts|mjs|js)$/;
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;
/**
 * `import … from './x.ts'`, `export … from './x.ts'` and `import './x.ts'` at the start of a line, and
 * `import('./x.ts')` anywhere; relative specifiers only.
 */
const SPECIFIER = /(?:^(?:import|export)\b[^'"`;=]*|\bimport\(\s*)(['"])(\.{1,2}\/[^'"]+)\1/gm;

/**
 * Reads every source file under `folders` of `root`, without `node_modules`.
 *
 * @throws Error when a file imports one that does not exist
 */
export const importGraph = (root: string, folders: readonly string[]): ImportGraph => {
  const graph = new Map<string, readonly string[]>();
  for (const folder of folders) {
    for (const file of sourcesIn(root, folder)) graph.set(file, importsOf(root, file));
  }
  return graph;
};

const sourcesIn = (root: string, folder: string): string[] =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((file) => SOURCE.test(file) && !file.split(path.sep).includes('node_modules'))
    .sort();

const importsOf = (root: string, file: string): string[] => {
  const source = readFileSync(path.join(root, file), 'utf8').replace(COMMENT, '');
  const found = [...source.matchAll(SPECIFIER)].map(([, , specifier = '']) =>
    path.join(path.dirname(file), specifier),
  );
  const missing = found.find((imported) => !existsSync(path.join(root, imported)));
  if (missing !== undefined) throw new Error(`${file} imports ${missing}, which does not exist`);
  return [...new Set(found)];
};

/** The groups of files, or folders, that import each other in a circle. */
export const cyclesOf = (graph: ImportGraph): string[][] => {
  const reachable = new Map([...graph.keys()].map((start) => [start, reachableFrom(graph, start)]));
  const grouped = new Set<string>();
  const cycles: string[][] = [];
  for (const [start, targets] of reachable) {
    if (!targets.has(start) || grouped.has(start)) continue;
    const cycle = [...targets].filter((other) => reachable.get(other)?.has(start)).sort();
    for (const member of cycle) grouped.add(member);
    cycles.push(cycle);
  }
  return cycles;
};

/** Everything that `start` imports, directly or not; itself only if it is in a circle. */
const reachableFrom = (graph: ImportGraph, start: string): Set<string> => {
  const seen = new Set<string>();
  const left = [...(graph.get(start) ?? [])];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    left.push(...(graph.get(next) ?? []));
  }
  return seen;
};

/** The same graph with files put together by `groupOf`; imports inside a group are left out. */
export const groupedGraph = (
  graph: ImportGraph,
  groupOf: (file: string) => string,
): ImportGraph => {
  const groups = new Map<string, Set<string>>();
  for (const [file, imports] of graph) {
    const group = groupOf(file);
    const targets = groups.get(group) ?? new Set<string>();
    for (const imported of imports) {
      if (groupOf(imported) !== group) targets.add(groupOf(imported));
    }
    groups.set(group, targets);
  }
  return new Map([...groups].map(([group, targets]) => [group, [...targets].sort()]));
};

/**
 * The imports that `allowed` does not permit, each as `a.ts imports b.ts`.
 *
 * @param groupOf the key of `allowed` that a file belongs to; files of one group may import each other
 * @param allowed for each group the groups it may import; files of other groups may import anything
 */
export const forbiddenImports = (
  graph: ImportGraph,
  groupOf: (file: string) => string,
  allowed: Readonly<Record<string, readonly string[]>>,
): string[] =>
  [...graph].flatMap(([file, imports]) => {
    const group = groupOf(file);
    const permitted = allowed[group];
    if (permitted === undefined) return [];
    return imports
      .filter((imported) => ![group, ...permitted].includes(groupOf(imported)))
      .map((imported) => `${file} imports ${imported}`);
  });
