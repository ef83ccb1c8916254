/** `native/build.mjs`, as `npm ci` and `make` run it, in a checkout of its own, with odd toolchains. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly lines: readonly string[];
}

interface Checkout {
  /** Puts a shell script on the PATH of `build()`, on which there is nothing else. */
  tool(name: string, script: string): void;
  build(...args: readonly string[]): Outcome;
  has(file: string): boolean;
  remove(file: string): void;
}

const checkout = (t: TestContext): Checkout => {
  const root = mkdtempSync(path.join(tmpdir(), 'native-build-'));
  t.after(() => rmSync(root, { recursive: true }));
  const bin = path.join(root, 'bin');
  mkdirSync(bin);
  for (const name of [
    'build.mjs',
    'platforms.mjs',
    'build.rs',
    'Cargo.toml',
    'Cargo.lock',
    'src',
  ]) {
    cpSync(path.join(ROOT, 'native', name), path.join(root, 'native', name), { recursive: true });
  }
  const lock = path.join('scripts', 'install-lock.mjs');
  cpSync(path.join(ROOT, lock), path.join(root, lock));
  return {
    tool: (name, script) =>
      writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 }),
    build: (...args) => {
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [path.join(root, 'native', 'build.mjs'), ...args],
        { env: { PATH: bin, XDG_CACHE_HOME: path.join(root, 'cache') }, encoding: 'utf8' },
      );
      return { code: status, stdout, lines: stderr.split('\n').filter((line) => line !== '') };
    },
    has: (file) => existsSync(path.join(root, file)),
    remove: (file) => rmSync(path.join(root, file)),
  };
};

const RUSTC = 'echo "rustc 1.95.0 (of a test)"';

test('without cargo: one line, and no failure if it was only if possible', (t) => {
  const { build } = checkout(t);
  const line = 'quinn engine: skipped: there is no cargo on PATH';
  assert.deepEqual(build('--if-possible'), { code: 0, stdout: '', lines: [line] });
  assert.deepEqual(build(), { code: 1, stdout: '', lines: [line] });
});

test('a Rust that is too old: one line', (t) => {
  const { tool, build } = checkout(t);
  tool('cargo', 'exit 0');
  tool('rustc', 'echo "rustc 1.63.0 (of a test)"');
  const { code, lines } = build('--if-possible');
  assert.equal(code, 0);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /^quinn engine: skipped: Rust 1\.63\.0 is too old; 1\.88 /);
});

test('what failed is tried again only when somebody asks for it', (t) => {
  const { tool, build, has } = checkout(t);
  tool('rustc', RUSTC);
  tool('cargo', 'if [ "$1" = build ]; then echo no linker >&2; exit 101; fi');
  const first = build('--if-possible');
  assert.equal(first.code, 0);
  assert.deepEqual(first.lines.slice(1), [
    'no linker',
    'quinn engine: skipped: cargo ended with code 101',
  ]);
  assert.deepEqual(build('--if-possible').lines, [
    'quinn engine: skipped: its build failed (`node native/build.mjs` tries again)',
  ]);
  const asked = build();
  assert.equal(asked.code, 1);
  assert.ok(asked.lines.includes('no linker'));
  assert.equal(has('native/quinn.node'), false);
});

test('what was built before is kept outside of the checkout', (t) => {
  if (process.platform !== 'linux') return t.skip('the name of the library is that of Linux');
  const { tool, build, has, remove } = checkout(t);
  tool('rustc', RUSTC);
  tool(
    'cargo',
    `if [ "$1" = build ]; then
      /bin/mkdir -p "$CARGO_TARGET_DIR/release"
      echo built > "$CARGO_TARGET_DIR/release/liblibp2p_lean_quinn.so"
    fi`,
  );
  assert.equal(build('--if-possible').code, 0);
  assert.ok(has('native/quinn.node'));
  assert.deepEqual(build(), { code: 0, stdout: '', lines: [] });
  tool('cargo', 'if [ "$1" = build ]; then exit 101; fi');
  remove('native/quinn.node');
  assert.deepEqual(build(), { code: 0, stdout: '', lines: [] });
  assert.ok(has('native/quinn.node'));
});
