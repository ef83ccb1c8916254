/**
 * Our own participant as it is shipped: `bin/`, the bundled `dist/` and, where it was built, the binary of
 * quinn, in a folder of the cache under a hash of the checkout and everything that goes into it. An edit while a matrix runs changes nothing in it.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../build-peers.ts';
import { run } from './command.ts';
import { MatrixError } from './error.ts';

const BUILD_TIMEOUT_MS = 300_000;
const KEEP_MS = 24 * 60 * 60 * 1000;
/** What the package is made from. */
const PARTS = [
  'bin',
  'src',
  'scripts/build.mjs',
  'scripts/bundle.mjs',
  'scripts/tsconfig.build.json',
  'tsconfig.json',
  'package.json',
  'package-lock.json',
];

/** There only where `cargo` is. */
const QUINN = 'native/quinn.node';

export interface Package {
  /** Folder with bin/, dist/ and perhaps native/; `node_modules` in it is the checkout's. */
  readonly root: string;
  /** Version of the package, and the commit where git knows it. */
  readonly version: string;
}

const filesIn = async (path: string): Promise<string[]> => {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = await readdir(path, { recursive: true, withFileTypes: true });
  return names
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
};

/**
 * Builds the package of `checkout`, or finds it in the cache.
 *
 * @throws MatrixError with the build's last line
 */
export const packageOf = async (checkout: string): Promise<Package> => {
  // The checkout's path is part of it: the folder links to its node_modules.
  const hash = createHash('sha256').update(`${process.version}\0${checkout}\0`);
  const parts = existsSync(join(checkout, QUINN)) ? [...PARTS, QUINN] : PARTS;
  for (const part of parts) {
    for (const file of await filesIn(join(checkout, part))) {
      hash.update(`${file.slice(checkout.length)}\0`).update(await readFile(file));
    }
  }
  const root = join(cacheFolder(), `lean-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(root)) {
    const made = `${root}.${process.pid}`;
    await rm(made, { recursive: true, force: true });
    await mkdir(made, { recursive: true });
    try {
      await build(checkout, made);
      await rename(made, root).catch((error: unknown) => {
        if (!existsSync(root)) throw error; // another run was faster
      });
    } finally {
      await rm(made, { recursive: true, force: true });
    }
    await prune(root);
  }
  const { version } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as {
    version: string;
  };
  const commit = await run(['git', 'describe', '--always', '--dirty'], 10_000, checkout);
  return {
    root,
    version: commit.code === 0 ? `v${version} (${commit.stdout.trim()})` : `v${version}`,
  };
};

const build = async (checkout: string, into: string): Promise<void> => {
  const command = [process.execPath, join(checkout, 'scripts', 'build.mjs'), join(into, 'dist')];
  const { code, stdout, stderr } = await run(command, BUILD_TIMEOUT_MS, checkout);
  if (code !== 0) {
    const line = `${stdout}\n${stderr}`.split('\n').find((text) => /error/i.test(text)) ?? stderr;
    throw new MatrixError(`our own participant could not be built: ${line.trim().slice(0, 300)}`);
  }
  await mkdir(join(into, 'dist/.compile-cache')); // its code caches go when it does
  await cp(join(checkout, 'bin'), join(into, 'bin'), { recursive: true });
  await cp(join(checkout, 'package.json'), join(into, 'package.json'));
  if (existsSync(join(checkout, QUINN))) {
    await mkdir(join(into, 'native'));
    await cp(join(checkout, QUINN), join(into, QUINN));
  }
  await symlink(join(checkout, 'node_modules'), join(into, 'node_modules'));
};

/** Removes builds of other sources that are older than a day. */
const prune = async (root: string): Promise<void> => {
  for (const name of await readdir(cacheFolder())) {
    const path = join(cacheFolder(), name);
    if (!name.startsWith('lean-') || path === root) continue;
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > KEEP_MS) await rm(path, { recursive: true, force: true });
  }
};
