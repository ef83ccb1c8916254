/** The direction of imports, read from the sources. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cyclesOf, forbiddenImports, groupedGraph, importGraph } from './support/import-graph.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** `bench/support/report.ts` → `bench`. */
const topFolder = (file: string): string => file.split(path.sep)[0] ?? '';

/** What each top folder may import. */
const ALLOWED = {
  src: [],
  interop: ['src'],
  fuzz: ['src', 'interop'],
  bench: ['src', 'interop'],
  scripts: ['src', 'interop', 'native'],
};

test('no file of interop/, bench/, fuzz/ or scripts/ imports itself through others', () => {
  const graph = importGraph(ROOT, ['interop', 'bench', 'fuzz', 'scripts']);
  assert.ok(graph.get('interop/matrix.ts')?.includes('interop/runner/cells.ts'));
  assert.deepEqual(cyclesOf(graph), []);
});

test('top folders import in one direction', () => {
  const graph = importGraph(ROOT, Object.keys(ALLOWED));
  assert.deepEqual(forbiddenImports(graph, topFolder, ALLOWED), []);
  assert.deepEqual(cyclesOf(groupedGraph(graph, topFolder)), []);
});

/** `src/quic/node/engine.ts` → `quic`; a file beside the folders stands for itself. */
const partOfSource = (file: string): string => {
  const [, part = '', ...rest] = file.split(path.sep);
  return rest.length === 0 ? file : part;
};

test('in src/ no file, and no folder, imports itself through others', () => {
  const graph = importGraph(ROOT, ['src']);
  assert.ok(graph.get('src/node/node.ts')?.includes('src/node/dialing.ts'));
  assert.deepEqual(cyclesOf(graph), []);
  const parts = groupedGraph(graph, partOfSource);
  assert.ok(parts.get('node')?.includes('transports'));
  assert.deepEqual(cyclesOf(parts), []);
});

/** A folder with these files, by their paths. */
const folderOf = (context: TestContext, files: Readonly<Record<string, string>>): string => {
  const root = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-imports-'));
  context.after(() => rmSync(root, { recursive: true }));
  for (const [file, source] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), source);
  }
  return root;
};

test('the graph holds every kind of import, and neither packages nor comments', (context) => {
  const root = folderOf(context, {
    'a/main.ts': [
      "import type { T } from './types.ts';",
      "import { readFile } from 'node:fs/promises';",
      'import {',
      '  one,',
      "} from '../b/one.ts';",
      "export { two } from './two.mjs';",
      "import './effect.ts';",
      "const late = await import('../b/late.ts');",
      "// import { no } from './no.ts';",
      "/** import { no } from './no.ts'; */",
    ].join('\n'),
    'a/types.ts': '',
    'a/two.mjs': '',
    'a/effect.ts': '',
    'b/one.ts': '',
    'b/late.ts': '',
    'a/node_modules/c/index.js': "import '../../main.ts';",
  });
  const graph = importGraph(root, ['a', 'b']);
  assert.equal(graph.size, 6);
  assert.deepEqual(graph.get('a/main.ts')?.toSorted(), [
    'a/effect.ts',
    'a/two.mjs',
    'a/types.ts',
    'b/late.ts',
    'b/one.ts',
  ]);
});

test('circles are found: of two files, of three by types alone, of folders', (context) => {
  const root = folderOf(context, {
    'x/a.ts': "import { b } from './b.ts';",
    'x/b.ts': "import { a } from './a.ts';\nimport { c } from '../y/c.ts';",
    'y/c.ts': "import type { D } from './d.ts';",
    'y/d.ts': "import type { E } from './e.ts';",
    'y/e.ts': "import type { C } from './c.ts';",
    'z/f.ts': "import { h } from '../w/h.ts';",
    'w/g.ts': "import { f } from '../z/f.ts';",
    'w/h.ts': '',
  });
  const graph = importGraph(root, ['x', 'y', 'z', 'w']);
  assert.deepEqual(cyclesOf(graph), [
    ['x/a.ts', 'x/b.ts'],
    ['y/c.ts', 'y/d.ts', 'y/e.ts'],
  ]);
  assert.deepEqual(cyclesOf(groupedGraph(graph, topFolder)), [['w', 'z']]);
  assert.deepEqual(forbiddenImports(graph, topFolder, { x: [], y: [], z: ['w'] }), [
    'x/b.ts imports y/c.ts',
  ]);
});

test('an import of a file that does not exist is an error', (context) => {
  const root = folderOf(context, { 'x/a.ts': "import { b } from './b.ts';" });
  assert.throws(() => importGraph(root, ['x']), /x\/a\.ts imports x\/b\.ts, which does not exist/);
});
