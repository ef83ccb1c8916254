// node native/check.mjs: rustfmt, clippy and the tests of the crate, where there is a Rust toolchain.
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const cache = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
const env = {
  ...process.env,
  CARGO_TARGET_DIR: path.join(cache, 'libp2p-lean', 'native', 'target'),
};
const cargo = (...args) =>
  spawnSync('cargo', args, { cwd: here, env, stdio: ['ignore', 2, 2] }).status;

const steps = [
  ['fmt', '--check'],
  ['clippy', '--locked', '--quiet', '--profile', 'quick', '--all-targets', '--', '-D', 'warnings'],
  ['test', '--locked', '--quiet', '--profile', 'quick'],
];

if (spawnSync('cargo', ['--version'], { stdio: 'ignore' }).status !== 0) {
  console.error('skipped: the checks of native/ (there is no cargo on PATH)');
} else {
  for (const step of steps) {
    console.error(`cargo ${step.join(' ')}`);
    if (cargo(...step) !== 0) process.exit(1);
  }
}
