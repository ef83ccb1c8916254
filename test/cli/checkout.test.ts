/** What `bin/libp2p-lean` runs in a checkout: a small one of its own, with a real esbuild. */

import assert from 'node:assert/strict';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Outcome, run, type Variables } from '../support/participant.ts';

const HANG = { timeout: 300_000 };
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Checkout {
  readonly root: string;
  /** Where the bundle and its code caches are. */
  readonly cache: string;
  write(name: string, text: string): void;
  /** Runs its launcher to the end. */
  run(args?: readonly string[], variables?: Variables, command?: string): Promise<Outcome>;
}

/**
 * Its command line prints `word.ts`, or `late.ts` when it is asked for that. Outside our own checkout,
 * since Node.js does not run TypeScript below a node_modules.
 */
const checkout = (t: TestContext): Checkout => {
  const root = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(root, { recursive: true }));
  const write = (name: string, text: string): void => {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  };
  for (const name of ['bin', 'scripts', 'package.json', 'package-lock.json', 'tsconfig.json']) {
    cpSync(path.join(ROOT, name), path.join(root, name), { recursive: true });
  }
  mkdirSync(path.join(root, 'node_modules'));
  for (const name of ['esbuild', '@redis', 'node']) {
    symlinkSync(path.join(ROOT, 'node_modules', name), path.join(root, 'node_modules', name));
  }
  write('src/word.ts', wordOf('one'));
  write('src/late.ts', wordOf('late'));
  write(
    'src/cli.ts',
    `import { word } from './word.ts';
    export const main = async (args: readonly string[]): Promise<never> => {
      try {
        console.log(args[0] === 'late' ? (await import('./late.ts')).word : word);
      } catch {
        process.exit(3);
      }
      process.exit(0);
    };`,
  );
  return {
    root,
    cache: path.join(root, 'node_modules', '.cache', 'libp2p-lean'),
    write,
    run: (args = [], variables = {}, command = process.execPath) =>
      run(args, variables, [command, path.join(root, 'bin', 'libp2p-lean')]),
  };
};

/** Texts of words that are as long as one another are as long as one another. */
const wordOf = (word: string): string => `export const word: string = '${word}';\n`;

const assertPrints = ({ code, stdout, stderr }: Outcome, word: string): void =>
  assert.deepEqual([code, stdout, stderr], [0, `${word}\n`, '']);

const DEBUG = { DEBUG: 'true' };
const BUILDS = /launcher: .*: building it\n/;

/** The bundle alone: no drafts. */
const bundlesIn = (cache: string): string[] =>
  readdirSync(cache).filter((name) => name.startsWith('cli.'));

for (const [name, command] of [
  ['this runtime', process.execPath],
  ['the node on PATH', 'node'],
] as const) {
  test(`the bundle is made when it is first needed, on ${name}`, HANG, async (t) => {
    const { cache, run } = checkout(t);
    const first = await run([], DEBUG, command);
    assert.equal(first.stdout, 'one\n', first.stderr);
    assert.match(first.stderr, /launcher: there is no bundle yet: building it\n/);
    assert.deepEqual(bundlesIn(cache), ['cli.cjs']);
    const second = await run([], DEBUG, command);
    assert.equal(second.stdout, 'one\n', second.stderr);
    assert.doesNotMatch(second.stderr, BUILDS);
    assert.match(
      second.stderr,
      /launcher: code cache \S+node_modules\/\.cache\/libp2p-lean\/\S+\n/,
    );
    assertPrints(await run([], {}, command), 'one');
  });
}

test('a run right after an edit runs what was edited', HANG, async (t) => {
  const { write, run } = checkout(t);
  for (const word of ['one', 'two', 'six', 'ten']) {
    write('src/word.ts', wordOf(word));
    assertPrints(await run(), word);
  }
});

test('whatever a bundle is made of, a change of it makes a new one', HANG, async (t) => {
  const { root, write, run } = checkout(t);
  assertPrints(await run(), 'one');
  const change: Record<string, () => void> = {
    'a file more': () => write('src/deep/er/more.ts', ''),
    'a file less': () => rmSync(path.join(root, 'src/deep/er/more.ts')),
    'a file as old and as long as the one it replaces': () => {
      write('src/word.new', wordOf('two'));
      utimesSync(path.join(root, 'src/word.ts'), 1, 1);
      cpSync(path.join(root, 'src/word.new'), path.join(root, 'src/word.ts'));
      utimesSync(path.join(root, 'src/word.ts'), 1, 1);
    },
    dependencies: () => write('node_modules/.package-lock.json', '{}'),
    'how it is made': () =>
      cpSync(path.join(ROOT, 'scripts'), path.join(root, 'scripts'), { recursive: true }),
  };
  for (const [what, make] of Object.entries(change)) {
    make();
    assert.match((await run([], DEBUG)).stderr, BUILDS, what);
    const { stderr } = await run([], DEBUG);
    assert.doesNotMatch(stderr, BUILDS, what);
  }
  assertPrints(await run(), 'two');
});

test('many at once after an edit: each runs what was edited', HANG, async (t) => {
  const { cache, write, run } = checkout(t);
  for (const word of ['two', 'six']) {
    write('src/word.ts', wordOf(word));
    const outcomes = await Promise.all(Array.from({ length: 5 }, () => run()));
    for (const outcome of outcomes) assertPrints(outcome, word);
    assert.deepEqual(bundlesIn(cache), ['cli.cjs']);
    assert.doesNotMatch((await run([], DEBUG)).stderr, BUILDS);
  }
});

test('an edit while others build: later runs have it', HANG, async (t) => {
  const { write, run } = checkout(t);
  const earlier: Promise<Outcome>[] = [];
  for (const word of ['one', 'two', 'six', 'ten']) {
    write('src/word.ts', wordOf(word));
    const now = run();
    earlier.push(run());
    // The next edit comes while these build.
    if (word === 'ten') assertPrints(await now, word);
    else earlier.push(now);
  }
  for (const { code, stderr } of await Promise.all(earlier))
    assert.deepEqual([code, stderr], [0, '']);
  assertPrints(await run(), 'ten');
});

test(
  'what is left behind by processes that were killed, and by old bundles, goes',
  HANG,
  async (t) => {
    const { cache, write, run } = checkout(t);
    await run([], DEBUG);
    const caches = (): string[] =>
      (readdirSync(cache, { recursive: true }) as string[])
        .map((name) => path.basename(name))
        .filter((name) => name.startsWith('libp2p-lean-'));
    const before = caches();
    assert.equal(before.length, 1);
    const draft = path.join(cache, 'cli.4711.cjs');
    writeFileSync(draft, '');
    utimesSync(draft, 1, 1);
    write('src/word.ts', wordOf('two'));
    await run([], DEBUG);
    assert.deepEqual(bundlesIn(cache), ['cli.cjs']);
    assert.equal(caches().length, 1);
    assert.notDeepEqual(caches(), before);
  },
);

const WITHOUT = 'libp2p-lean: running the sources as they are, without a bundle: ';

test('a broken source that is not needed: one line, and it runs', HANG, async (t) => {
  const { write, run } = checkout(t);
  assertPrints(await run(['late']), 'late');
  write('src/late.ts', 'export const word = 1;\n}\n');
  const { code, stdout, stderr } = await run();
  assert.equal(stderr, `${WITHOUT}src/late.ts:2:1: Unexpected "}"\n`);
  assert.deepEqual([code, stdout], [0, 'one\n']);
  assert.equal((await run(['late'])).code, 3);
  write('src/late.ts', wordOf('mended'));
  assertPrints(await run(['late']), 'mended');
});

for (const [name, command] of [
  ['this runtime', process.execPath],
  ['the node on PATH', 'node'],
] as const) {
  test(`a broken source: its place, and 1, on ${name}`, HANG, async (t) => {
    const { write, run } = checkout(t);
    assertPrints(await run([], {}, command), 'one');
    write('src/word.ts', 'export const word = ;\n');
    const { code, stdout, stderr } = await run([], {}, command);
    const [first, ...rest] = stderr.split('\n');
    assert.equal(first, `${WITHOUT}src/word.ts:1:21: Unexpected ";"`);
    assert.match(rest.join('\n'), /^libp2p-lean: src\/cli\.ts: .+\n$/);
    assert.deepEqual([code, stdout], [1, '']);
  });

  test(`no esbuild: one line, and the sources run, on ${name}`, HANG, async (t) => {
    const { root, run } = checkout(t);
    rmSync(path.join(root, 'node_modules', 'esbuild'));
    const { code, stdout, stderr } = await run([], {}, command);
    assert.match(stderr, /^libp2p-lean: running the sources .*'esbuild'.*\n$/);
    assert.deepEqual([code, stdout], [0, 'one\n']);
  });
}

test('no place for a bundle: one line, and the sources run', HANG, async (t) => {
  const { write, run } = checkout(t);
  write('node_modules/.cache', 'a file');
  const { code, stdout, stderr } = await run();
  assert.match(stderr, /^libp2p-lean: running the sources .*node_modules\/\.cache.*\n$/);
  assert.deepEqual([code, stdout], [0, 'one\n']);
});

test('a node that is too old starts the pinned one', HANG, async (t) => {
  const { root } = checkout(t);
  const preload = path.join(root, 'old.cjs');
  writeFileSync(preload, "Object.defineProperty(process, 'version', { value: 'v18.20.0' });");
  const command = [process.execPath, '-r', preload, path.join(root, 'bin', 'libp2p-lean')];
  const { stdout, stderr } = await run([], DEBUG, command);
  assert.match(
    stderr,
    /launcher: using \S+node_modules\/node\/bin\/node: .*v18\.20\.0 is too old\n/,
  );
  assert.equal(stdout, 'one\n');
  rmSync(path.join(root, 'node_modules', 'node'));
  const without = await run([], {}, command);
  assert.match(without.stderr, /^libp2p-lean: Node\.js v18\.20\.0 is too old, .*npm ci.*\n$/);
  assert.equal(without.code, 2);
});

test('no node_modules: one line', HANG, async (t) => {
  const { root, run } = checkout(t);
  rmSync(path.join(root, 'node_modules'), { recursive: true });
  const { code, stdout, stderr } = await run();
  assert.match(stderr, /^libp2p-lean: this checkout has no node_modules: .*npm ci.*\n$/);
  assert.deepEqual([code, stdout], [2, '']);
  assert.ok(!existsSync(path.join(root, 'node_modules')));
});
