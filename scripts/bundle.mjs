// The command line in one file, dependencies included: it starts several times faster than its
// sources. Packages with native code stay outside.
//
//   build.mjs writes it to dist/cli.cjs. In a checkout, bin/libp2p-lean runs
//   node scripts/bundle.mjs <file>      whose line of JSON on stdout says what went wrong, if anything
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');

// The Redis client comes with modules, a cluster client and some 400 commands, each attached to its
// prototypes at start: two thirds of the time from start to connected. The rendezvous sends four
// commands, with sendCommand(), to one server.
const redisWithoutCommands = {
  name: 'redis-without-commands',
  setup({ onResolve, onLoad }) {
    const { resolve } = createRequire(import.meta.url);
    const lib = path.join(path.dirname(resolve('@redis/client/package.json')), 'dist/lib');
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
    // TLS, cluster redirections, a pool's clock: their Node.js modules are loaded on first use.
    const late = {
      tls: "exports.connect = (...options) => require('node:tls').connect(...options);",
      assert: "module.exports = (...values) => require('node:assert')(...values);",
      'dns/promises': "exports.lookup = (...name) => require('node:dns/promises').lookup(...name);",
      perf_hooks: 'exports.performance = { now: () => performance.now() };',
    };
    onResolve(
      { filter: /^(node:)?(tls|assert|dns\/promises|perf_hooks)$/ },
      ({ path, importer }) =>
        importer.startsWith(lib) ? inNamespace(path.replace('node:', '')) : undefined,
    );
    onLoad(
      { filter: /^(tls|assert|dns\/promises|perf_hooks)$/, namespace: 'redis' },
      ({ path }) => ({
        contents: late[path],
      }),
    );
    // The cluster client's data about each command, parsed at start.
    onResolve({ filter: /^\.\/command-metadata-data$/ }, () => inNamespace('metadata'));
    onLoad({ filter: /^metadata$/, namespace: 'redis' }, () => ({
      contents: 'exports.COMMAND_METADATA = {};',
    }));
  },
};

/** The licence files of the packages that contain `inputs`, paths in the checkout. */
const licencesOf = (inputs) => {
  const folders = inputs.flatMap((input) => {
    const [, folder] = /^(?:redis:)?(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input) ?? [];
    return folder === undefined ? [] : [path.resolve(root, folder)];
  });
  const texts = [...new Set(folders)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(path.join(folder, 'package.json'), 'utf8'),
    );
    const files = readdirSync(folder).filter((file) => /^licen[cs]e/i.test(file));
    const said = files.map((file) => readFileSync(path.join(folder, file), 'utf8').trim());
    return [`${name} ${version} (${license})`, ...said].join('\n\n');
  });
  return `${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
};

/** Entry points, by the name of their bundle in dist/. */
export const ENTRIES = { 'cli.cjs': 'src/cli.ts', 'suites.cjs': 'src/suites.ts' };

/**
 * Resolves with the text of a bundle, one of {@link ENTRIES}, whose first line is its hash, and a function that
 * reads the licences of its contents.
 *
 * @throws esbuild's BuildFailure.
 */
export const bundle = async (name = 'cli.cjs', logLevel = 'silent') => {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: [ENTRIES[name]],
    outfile: name,
    write: false,
    bundle: true,
    platform: 'node',
    mainFields: ['module', 'main'],
    target: 'node22',
    // A script, not an ES module: the launcher can keep a code cache for it (bin/libp2p-lean), and what is
    // loaded late brings its built-in modules along only then. As an ES module it would load all of them
    // at start and call their getters; that of `node:http`, which WebSocket needs, loads undici.
    format: 'cjs',
    // For createRequire(), which takes a path, too.
    define: { 'import.meta.url': '__filename' },
    minifySyntax: true,
    minifyWhitespace: true,
    // They are in a separate file.
    legalComments: 'none',
    metafile: true,
    external: [
      '@libp2p-lean/quinn-*',
      '@infisical/quic-*',
      '@matrixai/quic-*',
      // 190 KB for nat.mapPorts, which no command sets.
      '@achingbrain/nat-port-mapper',
    ],
    plugins: [redisWithoutCommands],
    logLevel,
  });
  const text = outputFiles[0]?.text ?? '';
  // It is read as Latin-1, which takes less time than UTF-8.
  if (/[^\0-\x7f]/.test(text)) throw new Error('the bundle is not ASCII');
  // By this line the launcher distinguishes the code caches of different bundles.
  const id = createHash('sha256').update(text).digest('hex').slice(0, 16);
  return { text: `//${id}\n${text}`, licences: () => licencesOf(Object.keys(metafile.inputs)) };
};

/** `src/cli.ts:12:3: Unexpected "}"`: the first of esbuild's errors, in one line. */
const describeFailure = ({ errors, message }) => {
  const [first] = errors ?? [];
  if (first === undefined) return message.split('\n')[0];
  const { file, line, column } = first.location ?? {};
  return file === undefined ? first.text : `${file}:${line}:${column + 1}: ${first.text}`;
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    writeFileSync(process.argv[2], (await bundle()).text);
  } catch (error) {
    process.stdout.write(JSON.stringify({ failure: describeFailure(error) }));
    process.exitCode = 1;
  }
}
