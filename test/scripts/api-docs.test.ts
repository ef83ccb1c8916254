/** docs/api.md is what the docstrings say. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../support/package.ts';

const HANG = { timeout: 120_000 };

const check = (...file: string[]) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [path.join(ROOT, 'scripts/api-docs.mjs'), '--check', ...file],
    { encoding: 'utf8' },
  );
  return { status, said: stdout + stderr };
};

test('docs/api.md is up to date: `make docs` writes it', HANG, () => {
  assert.deepEqual(check(), { status: 0, said: '' });
});

test('one that is out of date is found out', HANG, (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'api.md');
  cpSync(path.join(ROOT, 'docs/api.md'), file);
  appendFileSync(file, 'more\n');
  const { status, said } = check(file);
  assert.equal(status, 1);
  assert.match(said, /^.*api\.md is not what the docstrings say: `make docs` writes it anew\n$/);
});
