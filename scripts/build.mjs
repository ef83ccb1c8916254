// npm run build → dist/:
//   dist/lib/   the library: one .js and .d.ts per module of src/
//   dist/cli.js the command line in one file, dependencies included: it starts several times faster
//               than its sources. Packages with native code stay outside.
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.join(root, 'dist');

rmSync(dist, { recursive: true, force: true });

execFileSync(
  process.execPath,
  [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', 'scripts/tsconfig.build.json'],
  { cwd: root, stdio: 'inherit' },
);

const cli = await build({
  absWorkingDir: root,
  entryPoints: ['src/cli.ts'],
  outfile: 'dist/cli.js',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: true,
  legalComments: 'linked',
  external: ['@infisical/quic-*', '@matrixai/quic-*'],
  // The client without the modules for search, JSON and so on: half of the umbrella's start-up.
  alias: existsSync(path.join(root, 'node_modules/@redis/client'))
    ? { redis: '@redis/client' }
    : {},
  // What is bundled from CommonJS calls require().
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  metafile: true,
  logLevel: 'warning',
});

for (const [file, { bytes }] of Object.entries(cli.metafile.outputs)) {
  console.log(`${file}  ${(bytes / 1024).toFixed(0)} kB`);
}
