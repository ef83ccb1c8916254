// Installs redis-server where it is missing and this user may (root on Debian). Elsewhere prints one line
// that says what to install, and ends with exit code 1.
import { spawnSync } from 'node:child_process';
import { argumentsOf } from './arguments.mjs';

const runs = (command, ...args) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;

const install = () => {
  console.error('redis-server is missing: installing it with apt-get');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', ...args], { stdio: ['ignore', 'ignore', 'inherit'], env })
      .status === 0;
  return apt('update') && apt('install', '-y', '--no-install-recommends', 'redis-server');
};

argumentsOf('');
if (!runs('redis-server', '--version')) {
  const permitted = process.getuid?.() === 0 && runs('apt-get', '--version');
  if (!permitted || !install()) {
    console.error(
      'redis-server is missing: install it (Debian: sudo apt-get install redis-server)',
    );
    process.exit(1);
  }
}
