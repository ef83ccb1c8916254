// npm run build → dist/:
//   dist/lib/   the library: one .js and .d.ts per module of src/
//   dist/cli.js the command line in one file, dependencies included: it starts several times faster
//               than its sources. Packages with native code stay outside.
import { execFileSync } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.join(root, 'dist');
// Made aside and put in place whole: what runs from dist/ meanwhile is not disturbed for long.
const made = path.join(root, 'dist.new');

rmSync(made, { recursive: true, force: true });

execFileSync(
  process.execPath,
  [
    path.join(root, 'node_modules/typescript/bin/tsc'),
    '-p',
    'scripts/tsconfig.build.json',
    '--outDir',
    'dist.new/lib',
  ],
  { cwd: root, stdio: 'inherit' },
);

// The Redis client comes with modules, a cluster client and some 400 commands, each attached to its
// prototypes at start: two thirds of the time from start to connected. The rendezvous sends four
// commands, with sendCommand(), to one server.
const redisWithoutCommands = {
  name: 'redis-without-commands',
  setup({ onResolve, onLoad }) {
    const lib = path.join(root, 'node_modules/@redis/client/dist/lib');
    const inNamespace = (name) => ({ path: name, namespace: 'redis', pluginData: lib });
    onResolve({ filter: /^redis$/ }, () => inNamespace('client'));
    onResolve({ filter: /^\.\.\/commands$/ }, ({ importer }) =>
      importer.startsWith(lib) ? inNamespace('commands') : undefined,
    );
    onLoad({ filter: /^client$/, namespace: 'redis' }, () => ({
      contents: `
        import client from './client/index.js';
        import { ErrorReply } from './errors.js';
        const { create: createClient } = client.default ?? client;
        export { createClient, ErrorReply };`,
      resolveDir: lib,
    }));
    onLoad({ filter: /^commands$/, namespace: 'redis' }, () => ({
      contents: 'export const NON_STICKY_COMMANDS = {}; export default {};',
    }));
  },
};

const cli = await build({
  absWorkingDir: root,
  entryPoints: ['src/cli.ts'],
  outfile: 'dist.new/cli.js',
  bundle: true,
  platform: 'node',
  mainFields: ['module', 'main'],
  target: 'node20',
  format: 'esm',
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'linked',
  external: ['@infisical/quic-*', '@matrixai/quic-*'],
  plugins: [redisWithoutCommands],
  // What is bundled from CommonJS calls require().
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
  metafile: true,
  logLevel: 'warning',
});

rmSync(dist, { recursive: true, force: true });
renameSync(made, dist);

for (const [file, { bytes }] of Object.entries(cli.metafile.outputs)) {
  console.log(`${file.replace('.new', '')}  ${(bytes / 1024).toFixed(0)} kB`);
}
