/**
 * `interop/known-failures.yaml`: cells that are known to fail, each with a reason and with evidence. A
 * listed cell may fail; a listed cell that passes fails the run, so that the list stays correct, unless it is
 * listed as intermittent.
 */
import { readYaml } from './yaml-file.ts';

export interface KnownFailure {
  readonly test: string;
  readonly reason: string;
  /** A link, or the path of a file in this repository that holds the proof. */
  readonly evidence: string;
  /** It fails in some runs only: that it passes is no news. */
  readonly intermittent: boolean;
}

/**
 * Reads the list.
 *
 * @param cells the full matrix: an entry that names no cell of it is a mistake
 * @throws MatrixError with file, line and column
 */
export const readKnownFailures = async (
  path: string,
  cells: readonly { readonly name: string }[],
): Promise<Map<string, KnownFailure>> => {
  const file = await readYaml(path);
  const known = new Map<string, KnownFailure>();
  if (file.root === undefined) return known;
  const there = new Set(cells.map((cell) => cell.name));
  const root = file.entries(file.root, 'the list', ['known-failures']);
  for (const item of file.items(root.get('known-failures'), 'known-failures')) {
    const entry = file.entries(item, 'a known failure', [
      'tests',
      'reason',
      'evidence',
      'intermittent',
    ]);
    const need = (key: string) => file.text(entry.get(key) ?? item, `${key} of a known failure`);
    const reason = need('reason');
    const evidence = need('evidence');
    const flag = entry.get('intermittent');
    const intermittent = flag !== undefined && file.flag(flag, 'intermittent of a known failure');
    const tests = file.items(entry.get('tests'), 'tests of a known failure');
    if (tests.length === 0) file.fail(item, 'a known failure must name its tests');
    for (const node of tests) {
      const test = file.text(node, 'a test name');
      if (!there.has(test)) file.fail(node, `there is no cell "${test}" in the matrix`);
      if (known.has(test)) file.fail(node, `"${test}" is listed twice`);
      known.set(test, { test, reason, evidence, intermittent });
    }
  }
  return known;
};
