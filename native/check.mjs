// node native/check.mjs: rustfmt, clippy and the tests of the crate, where there is a Rust toolchain.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rust, target } from './build.mjs';
import { licencesAreStale } from './licences.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const options = { cwd: here, env: { ...process.env, CARGO_TARGET_DIR: target } };
const cargo = (...args) =>
  spawnSync('cargo', args, { ...options, stdio: ['ignore', 2, 2] }).status === 0;
const has = (part) =>
  spawnSync('cargo', [part, '--version'], { ...options, stdio: 'ignore' }).status === 0;

const steps = [
  ['fmt', '--check'],
  ['clippy', '--locked', '--quiet', '--profile', 'quick', '--all-targets', '--', '-D', 'warnings'],
  ['test', '--locked', '--quiet', '--profile', 'quick'],
];

const { lack } = rust();
if (lack) console.error(`skipped: the checks of native/ (${lack})`);
else {
  if (licencesAreStale()) {
    console.error(
      'native/LICENCES.txt is not of this Cargo.lock: `node native/licences.mjs` makes it',
    );
    process.exit(1);
  }
  for (const step of steps) {
    const [part] = step;
    if (part !== 'test' && !has(part)) {
      console.error(`skipped: cargo ${part} in native/ (it is not installed)`);
      continue;
    }
    console.error(`cargo ${step.join(' ')}`);
    if (!cargo(...step)) process.exit(1);
  }
}
