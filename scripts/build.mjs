// npm run build → dist/ (or another directory: node scripts/build.mjs <directory>):
//   dist/lib/    the library: one .js and .d.ts per module of src/
//   dist/cli.cjs the command line (bundle.mjs), and the licences of what is in it
//   dist/suites.cjs the participants that run on js-libp2p, and their licences
import { spawnSync } from 'node:child_process';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { argumentsOf } from './arguments.mjs';
import { bundle, ENTRIES } from './bundle.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const { positionals } = argumentsOf('[directory]', {}, 1);
const dist = path.resolve(root, positionals[0] ?? 'dist');
// Built beside dist/ and then renamed, so that programs that run from dist/ are hardly disturbed.
const made = `${dist}.new`;

rmSync(made, { recursive: true, force: true });

const types = spawnSync(
  process.execPath,
  [
    path.join(root, 'node_modules/typescript/bin/tsc'),
    '-p',
    'scripts/tsconfig.build.json',
    '--outDir',
    path.join(made, 'lib'),
  ],
  { cwd: root, stdio: 'inherit' },
);
// tsc has printed the errors, as esbuild does.
if (types.status !== 0) process.exit(1);

for (const name of Object.keys(ENTRIES)) {
  const { text, licences } = await bundle(name, 'warning').catch(() => process.exit(1));
  for (const [file, content] of [
    [name, text],
    [`${name}.LEGAL.txt`, licences()],
  ]) {
    writeFileSync(path.join(made, file), content);
    const size = (content.length / 1024).toFixed(0);
    console.log(`${path.relative(root, path.join(dist, file))}  ${size} kB`);
  }
}

rmSync(dist, { recursive: true, force: true });
renameSync(made, dist);
