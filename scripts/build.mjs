// npm run build → dist/ (or another directory: node scripts/build.mjs <directory>):
//   dist/lib/    the library: one .js and .d.ts per module of src/
//   dist/cli.cjs the command line in one file, dependencies included: it starts several times faster
//                than its sources. Packages with native code stay outside.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.resolve(root, process.argv[2] ?? 'dist');
// Made aside and put in place whole: what runs from dist/ meanwhile is not disturbed for long.
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
// It has said what is wrong.
if (types.status !== 0) process.exit(1);

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
    // Redis is reached without TLS.
    onResolve({ filter: /^node:tls$/ }, ({ importer }) =>
      importer.startsWith(lib) ? inNamespace('tls') : undefined,
    );
    onLoad({ filter: /^tls$/, namespace: 'redis' }, () => ({
      contents: "exports.connect = (...options) => require('node:tls').connect(...options);",
    }));
    // What a cluster client knows of each command, parsed at start.
    onResolve({ filter: /^\.\/command-metadata-data$/ }, () => inNamespace('metadata'));
    onLoad({ filter: /^metadata$/, namespace: 'redis' }, () => ({
      contents: 'exports.COMMAND_METADATA = {};',
    }));
  },
};

const cli = await build({
  absWorkingDir: root,
  entryPoints: ['src/cli.ts'],
  outfile: path.join(made, 'cli.cjs'),
  bundle: true,
  platform: 'node',
  mainFields: ['module', 'main'],
  target: 'node20',
  // A script, not an ES module: the launcher can keep a code cache for it (bin/libp2p-lean), and what is
  // loaded late brings its built-in modules along only then. As an ES module it would load all of them
  // at start and call their getters; that of `node:http`, which WebSocket wants, loads undici.
  format: 'cjs',
  // It is for createRequire(), which takes either.
  define: { 'import.meta.url': '__filename' },
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'linked',
  external: ['@infisical/quic-*', '@matrixai/quic-*'],
  plugins: [redisWithoutCommands],
  metafile: true,
  logLevel: 'warning',
});

// The launcher tells code caches of different bundles apart by this line.
const bundle = path.join(made, 'cli.cjs');
const text = readFileSync(bundle, 'utf8');
const id = createHash('sha256').update(text).digest('hex').slice(0, 16);
writeFileSync(bundle, `//${id}\n${text}`);

rmSync(dist, { recursive: true, force: true });
renameSync(made, dist);

for (const [file, { bytes }] of Object.entries(cli.metafile.outputs)) {
  console.log(`${file.replace('.new/', '/')}  ${(bytes / 1024).toFixed(0)} kB`);
}
