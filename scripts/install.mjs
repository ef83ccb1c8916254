// Makes node_modules what package-lock.json says: runs `npm ci` when it is missing or differs, and
// does nothing otherwise. Runs on any Node.js from 20 on.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const packagesIn = (file) => {
  try {
    return JSON.parse(readFileSync(path.join(root, file), 'utf8')).packages;
  } catch {
    return undefined;
  }
};

const wanted = packagesIn('package-lock.json') ?? {};
const installed = packagesIn('node_modules/.package-lock.json');
const differs = Object.entries(wanted).find(
  ([name, { version, optional }]) =>
    name !== '' && !optional && installed?.[name]?.version !== version,
);

if (installed === undefined || differs !== undefined) {
  const why =
    installed === undefined ? 'node_modules is missing' : `${differs[0]} is not installed`;
  console.error(`npm ci: ${why}`);
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio: 'inherit' });
}
