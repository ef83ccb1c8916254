/** The package as it is published, built from the current sources. */

import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import packageJson from '../../package.json' with { type: 'json' };

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * A folder with everything that package.json's `files` names, and the README, below the checkout's
 * node_modules, so that dependencies are found. The caller removes it.
 */
export const stagePackage = (): string => {
  const root = mkdtempSync(path.join(ROOT, 'node_modules', '.package-'));
  execFileSync(process.execPath, ['scripts/build.mjs', path.join(root, 'dist')], { cwd: ROOT });
  for (const name of ['package.json', 'README.md', ...packageJson.files]) {
    if (name === 'dist' || name.startsWith('!')) continue;
    cpSync(path.join(ROOT, name), path.join(root, name), { recursive: true });
  }
  return root;
};
