/**
 * Builds the peers of the interop matrix: small participants of ours on other implementations,
 * under `interop/peers/<implementation>/<version>/` (docs/peers.md); and those of js-libp2p's interop suites, of the
 * kad-dht suite, of gossipsub-interop and of the NAT laboratory, under `interop/daemon-peers/`, `interop/kad-dht-peers/`,
 * `interop/gossipsub-peers/`, `interop/hole-punch-peers/`, `interop/identify-peers/` and `interop/nat-peers/`
 * (docs/nat.md), which are built when they are named only.
 *
 *   node interop/build-peers.ts [peer id ...]
 *
 * A build lands in a cache folder outside the checkout, `${XDG_CACHE_HOME:-~/.cache}/libp2p-lean/peers`
 * or `LIBP2P_LEAN_CACHE`, under a hash of the peer's files, its lock file and its toolchain's
 * version, so a second run builds nothing. What the machine cannot build is skipped with a reason.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { copyFile, cp, mkdir, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { constants, homedir, setPriority } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

/** A peer that runs: `command` is a participant that obeys both harness dialects. */
export interface RunnablePeer {
  /** `<implementation>-<version>`, such as `go-v0.51`: the id in interop/images.yaml; or `kad-dht-go-v0.39`. */
  readonly id: string;
  /** Folder name of the implementation, such as `go-libp2p`. */
  readonly implementation: string;
  /** Exact version of the library, such as `v0.51.0`. */
  readonly version: string;
  readonly command: readonly string[];
  /** Seconds that the build took; undefined if it was in the cache. */
  readonly seconds?: number;
}

/** A peer that this machine cannot run. */
export interface SkippedPeer {
  readonly id: string;
  /** One line. */
  readonly skipped: string;
  /** Whether the build was tried and broke, other than for want of a toolchain or a registry. */
  readonly broken: boolean;
  readonly log?: string;
}

export type BuiltPeer = RunnablePeer | SkippedPeer;

interface Recipe {
  /** The commands that must be there, each with what makes it print its version. */
  readonly tools: readonly (readonly [string, ...string[]])[];
  /** Other implementations whose shared files it uses. */
  readonly uses?: readonly string[];
  /** Builds the peer in `source` into `out`, which is empty. */
  readonly build: (run: Run, peer: Peer, out: string) => Promise<void>;
  readonly command: (peer: Peer, out: string) => readonly string[];
  /** Finds the library's exact version in the lock file's text. */
  readonly lock: readonly [file: string, version: RegExp];
}

type Run = (
  cwd: string,
  env: Readonly<Record<string, string>>,
  command: string,
  ...words: string[]
) => Promise<void>;

interface Peer {
  readonly id: string;
  /** Folder under interop/. */
  readonly suite: Suite;
  readonly implementation: string;
  /** Folder with what the versions of one implementation share. */
  readonly shared: string;
  /** Folder name of the version; a folder in `shared`. */
  readonly version: string;
  readonly source: string;
}

/** Folders with peers, and what ids begin with there. */
const SUITES = {
  peers: '',
  'daemon-peers': 'daemon-',
  'gossipsub-peers': 'gossipsub-',
  'hole-punch-peers': 'hole-punch-',
  'identify-peers': 'identify-',
  'kad-dht-peers': 'kad-dht-',
  'nat-peers': 'nat-',
} as const;
type Suite = keyof typeof SUITES;

const CHECKOUT = join(import.meta.dirname, '..');
const BUILD_TIMEOUT_MS = 45 * 60_000;
const PROBE_TIMEOUT_MS = 20_000;
/** Raise it when a recipe changes in a way that the key would not see. */
const RECIPES_VERSION = 1;

export const cacheFolder = (): string =>
  process.env.LIBP2P_LEAN_CACHE ||
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'libp2p-lean', 'peers');

/** The project's own Node.js where it is installed, else the one that runs this. */
const projectNode = (): string => {
  const installed = join(CHECKOUT, 'node_modules/node/bin/node');
  return existsSync(installed) ? installed : process.execPath;
};

/** Builds a Rust peer. One target folder serves all: they share most of their dependencies. */
const cargo: Recipe['build'] = async (run, peer, out) => {
  const target = join(cacheFolder(), 'build', 'rust');
  const env = { CARGO_TARGET_DIR: target };
  await run(peer.source, env, 'cargo', 'fetch', '--locked');
  await run(peer.source, env, 'cargo', 'build', '--release', '--locked');
  const kind = peer.suite === 'peers' ? 'peer' : peer.suite.replace(/-peers$/, '');
  const name = `${peer.implementation}-${kind}-${peer.version.replaceAll('.', '-')}`;
  await copyFile(join(target, 'release', name), join(out, 'peer'));
};

const RECIPES: Readonly<Record<string, Recipe>> = {
  'go-libp2p': {
    tools: [['go', 'version']],
    lock: ['go.mod', /go-libp2p (v[\d.]+)$/m],
    build: async (run, peer, out) => {
      // An old release may need an older Go than the machine's, which Go itself then fetches.
      const pinned = await readFile(join(peer.source, 'toolchain'), 'utf8').catch(() => '');
      const env = pinned === '' ? {} : { GOTOOLCHAIN: pinned.trim() };
      await run(peer.source, env, 'go', 'mod', 'download');
      await run(
        peer.source,
        env,
        'go',
        'build',
        '-trimpath',
        '-buildvcs=false',
        '-ldflags=-s -w',
        '-o',
        join(out, 'peer'),
        '.',
      );
    },
    command: (_peer, out) => [join(out, 'peer')],
  },
  // Theirs, unchanged: what js-libp2p's interop suites are run against.
  'go-libp2p-daemon': {
    tools: [['go', 'version']],
    lock: ['go.mod', /go-libp2p-daemon (v[\d.]+)/],
    build: async (run, peer, out) => {
      const program = 'github.com/libp2p/go-libp2p-daemon/p2pd';
      const flags = ['-trimpath', '-buildvcs=false', '-ldflags=-s -w'];
      // Its quic-go 0.45 panics with Go 1.26.
      const env = { GOTOOLCHAIN: (await readFile(join(peer.source, 'toolchain'), 'utf8')).trim() };
      await run(peer.source, env, 'go', 'build', ...flags, '-o', join(out, 'peer'), program);
    },
    command: (_peer, out) => [join(out, 'peer')],
  },
  'rust-libp2p': {
    tools: [
      ['cargo', '--version'],
      ['rustc', '--version'],
    ],
    lock: ['Cargo.lock', /name = "libp2p"\nversion = "([\d.]+)"/],
    build: cargo,
    command: (_peer, out) => [join(out, 'peer')],
  },
  litep2p: {
    tools: [
      ['cargo', '--version'],
      ['rustc', '--version'],
      // The crate's build script compiles its .proto files.
      ['protoc', '--version'],
    ],
    uses: ['rust-libp2p'],
    lock: ['Cargo.lock', /name = "litep2p"\nversion = "([\d.]+)"/],
    build: cargo,
    command: (_peer, out) => [join(out, 'peer')],
  },
  'js-libp2p': {
    // Not npm: it takes long to say its version, which changes nothing in what a lock file installs.
    tools: [[projectNode(), '--version']],
    lock: ['package-lock.json', /"node_modules\/libp2p": \{\s*"version": "([\d.]+)"/],
    build: async (run, peer, out) => {
      const shared = readdirSync(peer.shared).filter((name) => name.endsWith('.mjs'));
      for (const name of shared) await copyFile(join(peer.shared, name), join(out, name));
      await cp(peer.source, join(out, peer.version), {
        recursive: true,
        filter: (from) => basename(from) !== 'node_modules',
      });
      await run(join(out, peer.version), {}, 'npm', 'ci', '--no-audit', '--no-fund');
    },
    command: (peer, out) => [projectNode(), join(out, peer.version, 'main.mjs')],
  },
  'py-libp2p': {
    tools: [['python3', '--version']],
    lock: ['requirements.txt', /^libp2p==([\d.]+)/m],
    build: async (run, peer, out) => {
      await run(out, {}, 'python3', '-m', 'venv', 'venv');
      const python = join(out, 'venv/bin/python');
      await run(
        out,
        {},
        python,
        '-m',
        'pip',
        'install',
        '--no-deps',
        '--requirement',
        join(peer.source, 'requirements.txt'),
      );
      // A link, where versions share the program.
      await copyFile(join(peer.source, 'main.py'), join(out, 'main.py'));
    },
    command: (_peer, out) => [join(out, 'venv/bin/python'), join(out, 'main.py')],
  },
};

/** What fetching prints when the registry cannot be reached; anything else is a broken build. */
const UNREACHABLE =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|dial tcp|i\/o timeout|no such host|Could not resolve host|Couldn't connect|Failed to connect|download of config\.json failed|NewConnectionError|Temporary failure in name resolution|network is unreachable|Connection timed out/i;

/** Every peer in the checkout, in the order of suite, implementation and version. */
const findPeers = (): Peer[] =>
  (Object.keys(SUITES) as Suite[]).flatMap((suite) => {
    const root = join(CHECKOUT, 'interop', suite);
    return Object.keys(RECIPES).flatMap((implementation) => {
      const shared = join(root, implementation);
      if (!existsSync(shared)) return [];
      return readdirSync(shared, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && /^v\d/.test(entry.name))
        .map(({ name: version }) => version)
        .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
        .map((version) => ({
          id: `${SUITES[suite]}${implementation.replace(/-libp2p$/, '')}-${version}`,
          suite,
          implementation,
          shared,
          version,
          source: join(shared, version),
        }));
    });
  });

/** Runs a command to its end. Resolves to its stdout, or to undefined if there is no such command. */
const probe = async (command: string, words: readonly string[]): Promise<string | undefined> => {
  const child = spawn(command, words, {
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: PROBE_TIMEOUT_MS,
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  try {
    const [code] = await once(child, 'close');
    return code === 0 ? text.trim() : undefined;
  } catch {
    return undefined;
  }
};

/** Hashes the files that decide a build, in a fixed order. */
const addFiles = (hash: ReturnType<typeof createHash>, folder: string, depth = 0): void => {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (depth > 0 && !['node_modules', 'target', '__pycache__'].includes(entry.name))
        addFiles(hash, path, depth + 1);
    } else {
      hash.update(`${entry.name}\0`).update(readFileSync(path)).update('\0');
    }
  }
};

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
};

/** Takes a lock file that names its owner, waiting while the owner lives. */
const lock = async (path: string): Promise<() => Promise<void>> => {
  const deadline = Date.now() + BUILD_TIMEOUT_MS;
  for (;;) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(`${process.pid}`);
      await file.close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => ''));
    const age = Date.now() - (await stat(path).then(({ mtimeMs }) => mtimeMs, Date.now));
    if ((owner > 0 && !alive(owner)) || (owner === 0 && age > 10_000))
      await rm(path, { force: true });
    else if (Date.now() > deadline) throw new Error(`another build holds ${path}`);
    else await pause(500);
  }
};

/** A command that a build needs is not there. */
class MissingTool extends Error {}

/** Runs build steps one after the other, quietly, with low priority, into a log file. */
const runner =
  (log: string): Run =>
  async (cwd, env, command, ...words) => {
    const file = await open(log, 'a');
    try {
      await file.write(`\n$ cd ${cwd} && ${[command, ...words].join(' ')}\n`);
      const child = spawn(command, words, {
        cwd,
        env: { ...process.env, ...env },
        stdio: ['ignore', file.fd, file.fd],
        detached: true,
      });
      const stop = () => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
        } catch {
          // It has ended.
        }
      };
      const timer = setTimeout(stop, BUILD_TIMEOUT_MS);
      process.once('exit', stop);
      try {
        if (child.pid !== undefined)
          setPriority(child.pid, constants.priority.PRIORITY_BELOW_NORMAL);
      } catch {
        // Some systems do not allow it; it only makes the machine less responsive.
      }
      try {
        const [code, signal] = await once(child, 'close').catch(() => {
          throw new MissingTool(`${command} is not installed, or does not run`);
        });
        if (code !== 0)
          throw new Error(
            `${basename(command)} ${words[0]} ended with ${signal ?? `code ${code}`}`,
          );
      } finally {
        clearTimeout(timer);
        process.off('exit', stop);
      }
    } finally {
      await file.close();
    }
  };

/** Deletes all but the two newest builds of a peer: the one before may still be running. */
const prune = async (cache: string, id: string, newest: string): Promise<void> => {
  const builds = readdirSync(cache)
    .filter((name) => name !== newest && name.startsWith(`${id}-`) && /-[0-9a-f]{16}$/.test(name))
    .map((name) => ({ path: join(cache, name), marker: join(cache, name, 'built') }))
    .filter(({ marker }) => existsSync(marker))
    .map(({ path, marker }) => ({ path, time: statSync(marker).mtimeMs }))
    .sort((a, b) => b.time - a.time);
  for (const { path } of builds.slice(1)) await rm(path, { recursive: true, force: true });
};

const buildPeer = async (
  peer: Peer,
  recipe: Recipe,
  toolVersions: readonly (string | undefined)[],
  say: (line: string) => void,
  build: boolean,
): Promise<BuiltPeer> => {
  const { id, implementation } = peer;
  const missing = recipe.tools.find((_tool, i) => toolVersions[i] === undefined);
  if (missing !== undefined) {
    return {
      id,
      skipped: `${basename(missing[0])} is not installed, or does not run`,
      broken: false,
    };
  }
  const [lockFile, versionPattern] = recipe.lock;
  const found = versionPattern.exec(await readFile(join(peer.source, lockFile), 'utf8'))?.[1];
  if (found === undefined)
    return { id, skipped: `${lockFile} does not name the library`, broken: true };
  const version = `v${found.replace(/^v/, '')}`;

  const hash = createHash('sha256').update(
    [RECIPES_VERSION, process.platform, process.arch, ...toolVersions].join('\n'),
  );
  // What a suite's peers take from those of the matrix.
  const others = [...(recipe.uses ?? []), ...(peer.suite === 'peers' ? [] : [implementation])];
  for (const other of others) {
    const folder = join(CHECKOUT, 'interop/peers', other);
    if (existsSync(folder)) addFiles(hash, folder);
  }
  addFiles(hash, peer.shared);
  addFiles(hash, peer.source, 1);
  const cache = cacheFolder();
  const name = `${id}-${hash.digest('hex').slice(0, 16)}`;
  const out = join(cache, name);
  const marker = join(out, 'built');
  const done = { id, implementation, version, command: recipe.command(peer, out) };
  if (existsSync(marker)) return done;
  if (!build) {
    const how = `node_modules/node/bin/node interop/build-peers.ts ${id}`;
    return { id, skipped: `it is not built (${how})`, broken: false };
  }

  await mkdir(join(cache, 'logs'), { recursive: true });
  const unlock = await lock(join(cache, `${name}.lock`));
  const log = join(cache, 'logs', `${name}.log`);
  try {
    if (existsSync(marker)) return done;
    say(`building ${id} (${implementation} ${version})`);
    const start = performance.now();
    await rm(out, { recursive: true, force: true });
    await mkdir(out, { recursive: true });
    await writeFile(log, '');
    await recipe.build(runner(log), peer, out);
    const seconds = (performance.now() - start) / 1000;
    writeFileSync(marker, `${new Date().toISOString()} ${seconds.toFixed(1)} s\n`);
    await prune(cache, id, name);
    say(`built ${id} in ${seconds.toFixed(0)} s`);
    return { ...done, seconds };
  } catch (error) {
    await rm(out, { recursive: true, force: true }).catch(() => {});
    if (error instanceof MissingTool) return { id, skipped: error.message, broken: false };
    const output = await readFile(log, 'utf8').catch(() => '');
    if (UNREACHABLE.test(output.slice(-20_000))) {
      return {
        id,
        skipped: `its package registry cannot be reached (see ${log})`,
        broken: false,
        log,
      };
    }
    const why = error instanceof Error ? error.message : String(error);
    return { id, skipped: `the build failed: ${why} (see ${log})`, broken: true, log };
  } finally {
    await unlock();
  }
};

/**
 * Builds the selected peers, one after the other, or finds them in the cache.
 *
 * @param select peer ids, or a test of them; all peers of the matrix without it
 * @param say takes progress and, for every peer left out, one line naming it and why
 * @param build false to find them in the cache only
 * @throws Error if `select` names a peer that does not exist
 */
export const buildPeers = async (
  select: readonly string[] | ((id: string) => boolean) = (id) =>
    !/^(daemon|gossipsub|hole-punch|identify|kad-dht|nat)-/.test(id),
  say: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
  build = true,
): Promise<BuiltPeer[]> => {
  const all = findPeers();
  if (typeof select !== 'function') {
    const unknown = select.find((id) => !all.some((peer) => peer.id === id));
    if (unknown !== undefined) {
      throw new Error(`no peer "${unknown}"; there are ${all.map(({ id }) => id).join(', ')}`);
    }
  }
  const peers = all.filter(({ id }) =>
    typeof select === 'function' ? select(id) : select.includes(id),
  );
  const versions = new Map<string, Promise<string | undefined>>();
  const versionOf = ([command, ...words]: readonly [string, ...string[]]) => {
    const asked = versions.get(command) ?? probe(command, words);
    versions.set(command, asked);
    return asked;
  };
  for (const { implementation } of peers) RECIPES[implementation]?.tools.forEach(versionOf);

  const built: BuiltPeer[] = [];
  for (const peer of peers) {
    const recipe = RECIPES[peer.implementation];
    if (recipe === undefined) continue;
    const result = await buildPeer(
      peer,
      recipe,
      await Promise.all(recipe.tools.map(versionOf)),
      say,
      build,
    );
    if ('skipped' in result) say(`skipped ${result.id}: ${result.skipped}`);
    built.push(result);
  }
  return built;
};

if (import.meta.main) {
  // Ending this process by its `exit` event ends the build step that runs.
  process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
  try {
    const built = await buildPeers(process.argv.length > 2 ? process.argv.slice(2) : undefined);
    for (const peer of built) {
      if ('command' in peer)
        process.stdout.write(`${peer.id}\t${peer.version}\t${peer.command.join(' ')}\n`);
    }
    process.exitCode = built.some((peer) => 'skipped' in peer && peer.broken) ? 1 : 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
  }
}
