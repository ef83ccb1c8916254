/** `scripts/install.mjs`, as `make` runs it, on a small checkout of its own with a real npm. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Participant, start } from '../support/participant.ts';

const HANG = { timeout: 120_000 };
const SCRIPTS = fileURLToPath(new URL('../../scripts', import.meta.url));

interface Checkout {
  readonly root: string;
  /** Starts `scripts/install.mjs`. */
  install(): Participant;
  /** Resolves when the n-th `npm ci` is in the middle of its work, where it waits for `go()`. */
  installing(count: number): Promise<void>;
  go(): void;
  /** How many times `npm ci` began to install. */
  runs(): number;
  /** Whether the package is installed, and what the lock leaves behind. */
  result(): { readonly installed: boolean; readonly leftOver: readonly string[] };
}

/** One package from an archive beside it. In its own install script npm waits. */
const checkout = (t: TestContext): Checkout => {
  const root = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  const installers: Participant[] = [];
  t.after(async () => {
    go(); // or an npm whose parent was killed would wait forever
    await Promise.all(installers.map((installer) => installer.dispose()));
    rmSync(root, { recursive: true });
  });
  const go = (): void => appendFileSync(path.join(root, 'go'), '');
  const write = (name: string, content: object | string): void => {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    writeFileSync(path.join(root, name), text);
  };
  const npm = (...args: readonly string[]): Buffer =>
    execFileSync('npm', [...args, '--offline'], { cwd: root, stdio: 'pipe' });
  mkdirSync(path.join(root, 'scripts'));
  mkdirSync(path.join(root, 'part'));
  for (const name of readdirSync(SCRIPTS).filter((it) => /^(install|arguments)/.test(it))) {
    cpSync(path.join(SCRIPTS, name), path.join(root, 'scripts', name));
  }
  const install = 'node ../../wait.mjs';
  write('part/package.json', { name: 'part', version: '1.2.3', scripts: { install } });
  npm('pack', './part');
  const dependencies = { part: 'file:part-1.2.3.tgz' };
  write('package.json', { name: 'whole', dependencies, allowScripts: { part: true } });
  npm('install', '--package-lock-only', '--ignore-scripts', '--no-audit', '--no-fund');
  write('log', '');
  write(
    'wait.mjs',
    `import { appendFileSync, existsSync, watch } from 'node:fs';
    const root = new URL('.', import.meta.url);
    const watcher = watch(root, () => look());
    const look = () => existsSync(new URL('go', root)) && watcher.close();
    appendFileSync(new URL('log', root), 'run\\n');
    look();`,
  );
  const runs = (): number => readFileSync(path.join(root, 'log'), 'utf8').split('\n').length - 1;
  return {
    root,
    install: () => {
      const command = [process.execPath, path.join(root, 'scripts', 'install.mjs')];
      const installer = start([], {}, command);
      installers.push(installer);
      return installer;
    },
    installing: (count) =>
      new Promise((resolve) => {
        const watcher = watch(root, () => look());
        const look = (): void => {
          if (runs() < count) return;
          watcher.close();
          resolve();
        };
        look();
      }),
    go,
    runs,
    result: () => ({
      installed: existsSync(path.join(root, 'node_modules/part/package.json')),
      leftOver: readdirSync(root).filter((name) => name.startsWith('.')),
    }),
  };
};

const DONE = { installed: true, leftOver: [] };

test('of two first installs at once, one waits and finds it done', HANG, async (t) => {
  const { install, installing, go, runs, result } = checkout(t);
  const first = install();
  await installing(1);
  const second = install();
  await second.waitFor(/^npm ci: waiting for process \d+, which installs already$/m, 'stderr');
  go();
  const [one, two] = await Promise.all([first.ended, second.ended]);
  assert.deepEqual([one.code, two.code], [0, 0], one.stderr + two.stderr);
  assert.equal(two.stdout, '');
  assert.equal(runs(), 1);
  assert.deepEqual(result(), DONE);
});

test('many that start together: one installs', HANG, async (t) => {
  const { install, go, runs, result } = checkout(t);
  go();
  const outcomes = await Promise.all([1, 2, 3, 4].map(() => install().ended));
  for (const { code, stderr } of outcomes) assert.equal(code, 0, stderr);
  assert.equal(runs(), 1);
  assert.deepEqual(result(), DONE);
});

test('what is installed already: not a word, and no npm', HANG, async (t) => {
  const { install, go, runs } = checkout(t);
  go();
  assert.equal((await install().ended).code, 0);
  const { code, stdout, stderr } = await install().ended;
  assert.deepEqual([code, stdout, stderr], [0, '', '']);
  assert.equal(runs(), 1);
});

test('the lock of processes that were killed is taken over', HANG, async (t) => {
  const { root, install, installing, go, runs, result } = checkout(t);
  const first = install();
  await installing(1);
  // npm goes on without its parent, and is waited for.
  first.kill('SIGKILL');
  const second = install();
  const third = install();
  for (const it of [second, third]) await it.waitFor(/waiting for process/, 'stderr');
  const { pids } = JSON.parse(readFileSync(path.join(root, '.install.lock'), 'utf8'));
  assert.equal(pids[0], first.pid);
  process.kill(pids[1], 'SIGKILL');
  await installing(2);
  go();
  const outcomes = await Promise.all([second.ended, third.ended]);
  for (const { code, stderr } of outcomes) assert.equal(code, 0, stderr);
  assert.equal(runs(), 2);
  assert.deepEqual(result(), DONE);
});

test('a lock that nobody finished writing does not stay', HANG, async (t) => {
  const { root, install, go, result } = checkout(t);
  go();
  writeFileSync(path.join(root, '.install.lock'), '{');
  assert.equal((await install().ended).code, 0);
  assert.deepEqual(result(), DONE);
});

test('Ctrl-C ends npm, and the lock is gone', HANG, async (t) => {
  const { root, install, installing, go, runs, result } = checkout(t);
  // As a terminal does it: the whole process group gets the signal.
  const script = path.join(root, 'scripts', 'install.mjs');
  const first = spawn(process.execPath, [script], { detached: true, stdio: 'ignore' });
  await installing(1);
  const ended = once(first, 'exit');
  process.kill(-(first.pid ?? Number.NaN), 'SIGINT');
  const [code, signal] = await ended;
  assert.ok(code !== 0 && signal === null, `${code}, ${signal}`);
  assert.deepEqual(result().leftOver, []);
  go();
  assert.equal((await install().ended).code, 0);
  assert.equal(runs(), 2);
  assert.deepEqual(result(), DONE);
});

test('npm that fails: its words, and its exit code', HANG, async (t) => {
  const { root, install, result } = checkout(t);
  writeFileSync(path.join(root, 'wait.mjs'), 'process.exit(3);');
  const { code, stderr } = await install().ended;
  assert.equal(code, 3);
  assert.match(stderr, /wait\.mjs/);
  assert.doesNotMatch(stderr, /install\.mjs/);
  assert.deepEqual(result().leftOver, []);
});

/** Makes the package ask for a Node.js that this one is too old for; npm warns of it. */
const askForNewerNode = (root: string): void => {
  const file = path.join(root, 'package.json');
  const content = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...content, engines: { node: '>=999' } }));
};

test('a Node.js that is too old for the packages: no warnings of that', HANG, async (t) => {
  const { root, install, go, result } = checkout(t);
  askForNewerNode(root);
  go();
  const { code, stderr } = await install().ended;
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /EBADENGINE/);
  assert.deepEqual(result(), DONE);
});

test('the same, and npm fails: its words, and its exit code', HANG, async (t) => {
  const { root, install } = checkout(t);
  askForNewerNode(root);
  writeFileSync(path.join(root, 'wait.mjs'), 'console.error("no compiler"); process.exit(3);');
  const { code, stderr } = await install().ended;
  assert.equal(code, 3);
  assert.match(stderr, /^npm error no compiler$/m);
  assert.doesNotMatch(stderr, /EBADENGINE/);
});
