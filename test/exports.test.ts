/** The subpaths of the package: what is loaded with each, and that importing them changes nothing. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import packageJson from '../package.json' with { type: 'json' };
import { loadedBy } from './support/loaded-modules.ts';

const ROOT = new URL('../', import.meta.url);

/** `quic`: the subpath's source and its entry in package.json. */
const subpaths = Object.entries(packageJson.exports)
  .filter((entry): entry is [string, { types: string; default: string }] => {
    const [name, target] = entry;
    return name !== '.' && typeof target !== 'string';
  })
  .map(([name, target]) => ({ name: name.slice(2), target }));

/** Of src/, what each subpath is made of; beyond COMMON. */
const PARTS: Readonly<Record<string, RegExp>> = {
  quic: /^(admission|connection-memory|connection|pending-pool|runtime|socket-address|quic\/(select|engine|engine-name|limits)|limit-ranges|check-names)\.ts$/,
  tls: /^(tls|identity)\//,
  noise:
    /^(secure\/(noise|noise-payload|noise-state|noise-wire|chacha|secure-channel)\.ts|identity\/|wire\/(wire|socket-wire|pausing-receive)\.ts)/,
  yamux:
    /^(mux\/(yamux|mux-limits|mux-session|mux-stream)|wire\/(wire|socket-wire|pausing-receive)|connection|connection-memory|limit-ranges)\.ts$/,
  mplex:
    /^(mux\/(mplex|mux-limits|mux-session|mux-stream)|wire\/(wire|socket-wire|pausing-receive)|connection|connection-memory|limit-ranges)\.ts$/,
  multistream: /^(multistream|wire\/(wire|socket-wire|pausing-receive))\.ts$/,
  identity: /^identity\//,
  'web-streams': /^stream\.ts$/,
  'js-libp2p':
    /^(js-libp2p\/|tls\/|identity\/|(admission|connection-memory|connection|multiaddr|multistream|once|pending-pool|resolve-multiaddr|runtime|socket-address|limit-ranges|check-names)\.ts$|quic\/(select|engine|engine-name|limits)\.ts$)/,
};

/** What anything may be made of: errors, waiting, and the stream contract. */
const COMMON = /^(errors|close-reason|printable|deadline|stream|stream\/[\w-]+)\.ts$/;

/** Packages that a subpath loads. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  tls: ['@bufbuild/protobuf', '@noble/ed25519', 'multiformats'],
  noise: ['@bufbuild/protobuf', '@noble/ciphers', '@noble/ed25519', 'multiformats'],
  identity: ['@bufbuild/protobuf', '@noble/ed25519', 'multiformats'],
  'js-libp2p': [
    '@bufbuild/protobuf',
    '@libp2p/crypto',
    '@libp2p/interface',
    '@libp2p/peer-id',
    '@libp2p/utils',
    '@multiformats/multiaddr',
    '@noble/ed25519',
    'multiformats',
  ],
};

/** What the packages of js-libp2p load in turn is theirs to say. */
const LOADS_FOREIGN: ReadonlySet<string> = new Set(['js-libp2p']);

test('package.json, src/exports and this test name the same subpaths', () => {
  const files = readdirSync(new URL('src/exports', ROOT)).map((file) => file.replace(/\.ts$/, ''));
  const names = subpaths.map(({ name }) => name);
  assert.deepEqual(names.toSorted(), files.toSorted());
  assert.deepEqual(names.toSorted(), Object.keys(PARTS).toSorted());
  for (const { name, target } of subpaths) {
    assert.deepEqual(target, {
      types: `./dist/lib/exports/${name}.d.ts`,
      default: `./dist/lib/exports/${name}.js`,
    });
    assert.ok(existsSync(new URL(`src/exports/${name}.ts`, ROOT)));
  }
});

describe('each subpath loads what it is made of, and nothing of the others', () => {
  for (const { name } of subpaths) {
    test(name, () => {
      const entry = new URL(`src/exports/${name}.ts`, ROOT).href;
      const urls = [...loadedBy(`await import('${entry}')`).matchAll(/^loads (file:.+)$/gm)].map(
        ([, url = '']) => url.slice(ROOT.href.length),
      );
      assert.ok(urls.includes(`src/exports/${name}.ts`));
      const sources = urls
        .filter((url) => url.startsWith('src/'))
        .map((url) => url.slice('src/'.length));
      const foreign = sources.filter(
        (file) =>
          file !== `exports/${name}.ts` && !COMMON.test(file) && PARTS[name]?.test(file) !== true,
      );
      assert.deepEqual(foreign, []);
      const packages = urls.flatMap((url) => {
        const [, found] = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url) ?? [];
        return found === undefined ? [] : [found];
      });
      const wanted = PACKAGES[name] ?? [];
      const found = [...new Set(packages)].sort();
      assert.deepEqual(
        LOADS_FOREIGN.has(name) ? found.filter((it) => wanted.includes(it)) : found,
        wanted,
      );
    });
  }
});

/** What of a process an import could change, as JSON. */
const STATE = `() => JSON.stringify({
  listeners: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
  globals: Reflect.ownKeys(globalThis).map(String),
  environment: process.env,
  title: process.title,
  active: process.getActiveResourcesInfo().filter((name) => !/^(TTY|Pipe)Wrap$/.test(name)),
  prototypes: [Object, Array, Uint8Array, Promise, EventTarget, Buffer].map((it) =>
    [it, it.prototype].map((its) => Reflect.ownKeys(its).map(String))),
  hashes: Object.entries(hashes).map(([name, value]) => [name, String(value)]),
})`;

/** Runs `use` in a process of its own between two looks at the process; both of them. */
const stateAround = (use: string): readonly [before: unknown, after: unknown] => {
  const code = `
    // Node.js makes it when it is first asked for.
    import { hashes } from '@noble/ed25519';
    const state = ${STATE};
    const before = state();
    ${use};
    console.log(JSON.stringify([before, state()]));`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', code],
    { encoding: 'utf8', timeout: 30_000, cwd: fileURLToPath(ROOT) },
  );
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  const [before, after] = JSON.parse(stdout).map((it: string) => JSON.parse(it));
  return [before, after];
};

describe('importing changes nothing of the process, and does not keep it', () => {
  for (const file of ['index', ...subpaths.map(({ name }) => `exports/${name}`)]) {
    test(file, () => {
      const [before, after] = stateAround(
        `await import('${new URL(`src/${file}.ts`, ROOT).href}');`,
      );
      assert.deepEqual(after, before);
    });
  }

  test('what the test looks for, it sees', () => {
    const changes = {
      listeners: "process.once('exit', () => {});",
      globals: 'globalThis.leanTest = 1;',
      environment: "process.env.LEAN_TEST = '1';",
      active: 'setTimeout(() => {}, 1);',
      prototypes: 'Array.prototype.leanTest = 1;',
      hashes: 'hashes.sha512 = () => new Uint8Array(64);',
    };
    for (const [name, use] of Object.entries(changes)) {
      const [before, after] = stateAround(use) as [
        Record<string, unknown>,
        Record<string, unknown>,
      ];
      const changed = Object.keys(before).filter(
        (key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]),
      );
      assert.deepEqual(changed, [name]);
    }
  });
});

test('Ed25519 by @noble/ed25519 leaves its table of hashes as it was', () => {
  const keys = new URL('src/identity/ed25519.ts', ROOT).href;
  const [before, after] = stateAround(`
    const { nobleKeyPair } = await import('${keys}');
    nobleKeyPair(new Uint8Array(32)).sign(new Uint8Array(1));`);
  assert.deepEqual(after, before);
});
