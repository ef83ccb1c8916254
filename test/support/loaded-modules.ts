/** The modules that a script loads, found out in a separate process. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';

const HOOK = new URL('log-loads.mjs', import.meta.url).href;

/**
 * One line for each module that is loaded while `script`, an ES module, runs: `loads file:///…` for files, and
 * `NativeModule tls` for Node.js's own modules.
 */
export const loadedBy = (script: string): string => {
  const code = `${script}; console.log(process.moduleLoadList.join('\\n')); process.exit();`;
  const args = ['--import', HOOK, '--input-type=module', '--eval', code];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 30_000,
  });
  assert.equal(status, 0, stderr);
  return `${stderr}\n${stdout}`;
};
