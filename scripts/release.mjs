// What is published to npm, one folder for each package:
//
//   node scripts/release.mjs stage <binaries> <out>
//       <out>/libp2p-lean, and <out>/quinn-<platform> for every <binaries>/<platform>.node
//       (native/platform.mjs makes those). Fails if a platform is missing, unless --partial is given.
//   node scripts/release.mjs check
//       `make release-check`: all but the upload. Publishes what can be built here to a local registry
// (verdaccio, from npm), installs it into an empty directory from there, and pings.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildQuinn } from '../native/build.mjs';
import { PLATFORMS, packageOf } from '../native/platforms.mjs';
import { argumentsOf, wrongArguments } from './arguments.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
/** verdaccio depends on node-fetch's tag `cjs`, which mirrors lack; the override is the version it stands for. */
const VERDACCIO = { dependencies: { verdaccio: '6.10.4' }, overrides: { 'node-fetch': '2.7.0' } };
/** Milliseconds until verdaccio answers. */
const REGISTRY_TIMEOUT = 60_000;

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));
const writeJson = (file, content) => writeFileSync(file, `${JSON.stringify(content, null, 2)}\n`);

// stage

const stagePlatform = (platform, binary, out, main) => {
  const [os, cpu] = platform.split('-');
  const { libc } = PLATFORMS[platform];
  mkdirSync(out, { recursive: true });
  cpSync(binary, path.join(out, 'quinn.node'));
  for (const licence of ['LICENSE-APACHE', 'LICENSE-MIT', 'native/LICENCES.txt']) {
    cpSync(path.join(root, licence), path.join(out, path.basename(licence)));
  }
  writeFileSync(
    path.join(out, 'README.md'),
    `The quinn engine of [libp2p-lean](https://www.npmjs.com/package/libp2p-lean) for ${platform}.\n`,
  );
  const { version, license, repository } = main;
  writeJson(path.join(out, 'package.json'), {
    name: packageOf(platform),
    version,
    description: `The quinn engine of libp2p-lean for ${platform}`,
    license,
    ...(repository && { repository }),
    main: 'quinn.node',
    files: ['quinn.node', 'LICENCES.txt'],
    // npm silently drops optional packages whose `engines` does not match.
    engines: { node: '>=20' },
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
  });
};

/** dist/ must be built. The package depends on those of all platforms; npm takes the one that fits. */
const stageMain = (out, main) => {
  mkdirSync(out, { recursive: true });
  const [left, taken] = ['!', ''].map((mark) =>
    main.files.flatMap((name) => {
      const excluded = name.startsWith('!');
      return excluded === (mark === '!') ? name.slice(mark.length) : [];
    }),
  );
  for (const name of [...taken, 'README.md']) {
    cpSync(path.join(root, name), path.join(out, name), {
      recursive: true,
      // As npm interprets `!dist/suites.cjs*`.
      filter: (from) =>
        !left.some((one) => path.relative(root, from).startsWith(one.replace(/\*$/, ''))),
    });
  }
  const { scripts, devDependencies, ...published } = main;
  const platforms = Object.keys(PLATFORMS).map((it) => [packageOf(it), main.version]);
  const optionalDependencies = { ...Object.fromEntries(platforms), ...main.optionalDependencies };
  writeJson(path.join(out, 'package.json'), { ...published, optionalDependencies });
};

const stage = (binaries, out, partial) => {
  const there = Object.keys(PLATFORMS).filter((it) =>
    existsSync(path.join(binaries, `${it}.node`)),
  );
  const missing = Object.keys(PLATFORMS).filter((it) => !there.includes(it));
  if (missing.length > 0 && !partial) throw new Error(`no binary for ${missing.join(', ')}`);
  const main = readJson(path.join(root, 'package.json'));
  rmSync(out, { recursive: true, force: true });
  for (const platform of there) {
    const binary = path.join(binaries, `${platform}.node`);
    stagePlatform(platform, binary, path.join(out, `quinn-${platform}`), main);
  }
  stageMain(path.join(out, 'libp2p-lean'), main);
  // The main package last: it names the others.
  return readdirSync(out).sort().reverse();
};

// check

/** This machine's platform, as platforms.mjs names it. */
const platformHere = () => {
  const { platform, arch } = process;
  if (platform === 'darwin') return `darwin-${arch}`;
  if (platform === 'win32') return `win32-${arch}-msvc`;
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  return `${platform}-${arch}-${glibc ? 'gnu' : 'musl'}`;
};

/** Our packages are local; all others come from the registry that npm uses. */
const verdaccioConfig = (folder, uplink) => `
storage: ${path.join(folder, 'storage')}
uplinks:
  npm:
    url: ${uplink}
    maxage: 60m
packages:
  'libp2p-lean': { access: $all, publish: $all }
  '@libp2p-lean/*': { access: $all, publish: $all }
  '**': { access: $all, proxy: npm }
log: { type: stdout, format: pretty, level: warn }
`;

/** Resolves with its URL. It ends with this process. */
const startRegistry = async (folder) => {
  const uplink = execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim();
  const config = path.join(folder, 'verdaccio.yaml');
  writeFileSync(config, verdaccioConfig(folder, uplink));
  const port = 20_000 + (process.pid % 20_000);
  const url = `http://127.0.0.1:${port}`;
  writeJson(path.join(folder, 'package.json'), { name: 'registry', private: true, ...VERDACCIO });
  run('npm', ['install', '--no-audit', '--no-fund'], folder);
  const verdaccio = path.join(folder, 'node_modules', 'verdaccio', 'bin', 'verdaccio');
  const words = [verdaccio, '--config', config, '--listen', `127.0.0.1:${port}`];
  const registry = spawn(process.execPath, words, { cwd: folder, stdio: ['ignore', 2, 2] });
  process.once('exit', () => registry.kill());
  const ended = once(registry, 'close').then(([code]) => {
    throw new Error(`verdaccio ended with code ${code}`);
  });
  ended.catch(() => undefined);
  const answers = async () => {
    for (const start = Date.now(); Date.now() - start < REGISTRY_TIMEOUT; ) {
      try {
        if ((await fetch(`${url}/-/ping`, { signal: AbortSignal.timeout(5_000) })).ok) return;
      } catch {
        // Not yet.
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    throw new Error(`verdaccio did not answer within ${REGISTRY_TIMEOUT} ms`);
  };
  await Promise.race([answers(), ended]);
  return url;
};

const run = (command, args, cwd) => {
  const { status, error, stdout } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 300_000,
  });
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')} ${error?.message ?? `ended with ${status}`}`);
  }
  return stdout;
};

/** Two nodes, of the package as it was installed, on the engine that `auto` takes. */
const PING = `
  import { createNode, ping } from 'libp2p-lean';
  const [answering, asking] = [await createNode(), await createNode()];
  const { address } = await answering.listen('/ip4/127.0.0.1/udp/0/quic-v1');
  const connection = await asking.dial(address);
  const ms = await ping(connection);
  if (!(ms > 0)) throw new Error('no ping');
  console.log(connection.description);
  await asking.close();
  await answering.close();
`;

const check = async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-release-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const binaries = path.join(folder, 'binaries');
  mkdirSync(binaries);
  if (!(await buildQuinn({ again: false }))) {
    console.log('skipped: release-check (the quinn engine cannot be built here)');
    return;
  }
  run(process.execPath, ['scripts/build.mjs'], root);
  const platform = platformHere();
  cpSync(path.join(root, 'native', 'quinn.node'), path.join(binaries, `${platform}.node`));
  const staged = path.join(folder, 'staged');
  const packages = stage(binaries, staged, true);
  const registry = await startRegistry(folder);
  const npmrc = `registry=${registry}/\n//${new URL(registry).host}/:_authToken=nobody\naudit=false\nfund=false\n`;
  for (const name of packages) {
    const from = path.join(staged, name);
    writeFileSync(path.join(from, '.npmrc'), npmrc);
    run('npm', ['publish', '--access', 'public', '--registry', registry], from);
    console.log(`published ${name}`);
  }
  const empty = path.join(folder, 'empty');
  mkdirSync(empty);
  writeFileSync(path.join(empty, '.npmrc'), npmrc);
  writeJson(path.join(empty, 'package.json'), { name: 'empty', type: 'module', private: true });
  run('npm', ['install', 'libp2p-lean', '--registry', registry], empty);
  const installed = readdirSync(path.join(empty, 'node_modules', '@libp2p-lean'));
  if (installed.join() !== `quinn-${platform}`) throw new Error(`installed: ${installed.join()}`);
  const description = run(process.execPath, ['--input-type=module', '--eval', PING], empty).trim();
  if (description !== 'quic-v1 (quinn)') throw new Error(`it ran on ${description}`);
  const command = path.join('node_modules', '.bin', 'libp2p-lean');
  const version = run(process.execPath, [command, '--version'], empty);
  console.log(
    `installed libp2p-lean ${version.trim()} from ${registry}: a ping over ${description}`,
  );
};

const { values, positionals } = argumentsOf(
  'stage <binaries> <out> [--partial]\ncheck',
  { options: { partial: { type: 'boolean', default: false } } },
  3,
);
const [name, binaries, out] = positionals;
if (!(name === 'check' && binaries === undefined) && !(name === 'stage' && out !== undefined)) {
  wrongArguments('stage <binaries> <out>, or check, is wanted');
}
try {
  if (name === 'check') await check();
  else for (const made of stage(binaries, out, values.partial)) console.log(path.join(out, made));
  process.exit(0);
} catch (error) {
  console.error(`release: ${error.message}`);
  process.exit(1);
}
