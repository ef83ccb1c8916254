// Makes node_modules what package-lock.json says: runs `npm ci` when it is missing or differs, and
// does nothing otherwise. When several run at once, one installs and the others wait (install-lock.mjs).
// Runs on any Node.js from 20 on.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from './arguments.mjs';
import { takeLock } from './install-lock.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const packagesIn = (file) => {
  try {
    return JSON.parse(readFileSync(path.join(root, file), 'utf8')).packages;
  } catch {
    return undefined;
  }
};

/** Why node_modules has to be installed; undefined when it need not be. */
const lack = () => {
  const wanted = packagesIn('package-lock.json') ?? {};
  const installed = packagesIn('node_modules/.package-lock.json');
  if (installed === undefined) return 'node_modules is missing';
  const differs = Object.entries(wanted).find(
    ([name, { version, optional }]) =>
      name !== '' && !optional && installed[name]?.version !== version,
  );
  return differs === undefined ? undefined : `${differs[0]} is not installed`;
};

/** Whether this Node.js is older than the package asks for. It then only starts the one in node_modules. */
const isTooOld = () => {
  const { engines } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const least = Number(/^>=(\d+)/.exec(engines?.node ?? '')?.[1] ?? 0);
  return Number.parseInt(process.versions.node, 10) < least;
};

/** Passes on npm's stderr without warnings that packages need a newer Node.js: npm installs one for them. */
const withoutEngineWarnings = (stderr) => {
  createInterface({ input: stderr }).on('line', (line) => {
    if (!/^npm warn EBADENGINE /i.test(line)) process.stderr.write(`${line}\n`);
  });
};

/** Resolves with npm's exit code. A signal ends npm, and with it us. */
const npmCi = async (lock) => {
  const tooOld = isTooOld();
  const stdio = ['inherit', 'inherit', tooOld ? 'pipe' : 'inherit'];
  const npm = spawn('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio });
  if (tooOld) withoutEngineWarnings(npm.stderr);
  const spawned = once(npm, 'spawn');
  const closed = once(npm, 'close');
  closed.catch(() => undefined);
  await spawned;
  // If this process is killed, npm goes on, and so holds the lock, too.
  lock.shareWith(npm.pid);
  // A terminal's Ctrl-C reaches npm directly; other signals are passed on.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(name, () => {
      if (name !== 'SIGINT' || !process.stdin.isTTY) npm.kill(name);
    });
  }
  const [code, signal] = await closed;
  return code ?? 128 + os.constants.signals[signal];
};

const install = async () => {
  if (lack() === undefined) return 0;
  const lock = await takeLock(path.join(root, '.install.lock'), (holder) =>
    console.error(`npm ci: waiting for process ${holder}, which installs already`),
  );
  try {
    const why = lack();
    if (why === undefined) return 0;
    console.error(`npm ci: ${why}`);
    return await npmCi(lock);
  } finally {
    lock.release();
  }
};

argumentsOf('');
try {
  process.exitCode = await install();
} catch (error) {
  console.error(`npm ci: ${error.message}`);
  process.exitCode = 1;
}
