// node native/build.mjs → native/quinn.node, the binary of the quinn engine. It is built once for
// each state of the sources and each rustc, into ~/.cache/libp2p-lean/native, and put here from
// there. Without a Rust toolchain one line says so, and what was built from other sources goes.
// With --if-possible (npm's `prepare`) that is no failure, and what failed is not tried again.
// Runs on any Node.js from 20 on.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { takeLock } from '../scripts/install-lock.mjs';
import { libraryOf } from './platforms.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const built = path.join(here, 'quinn.node');
/** The sources that `built` was made of, or that could not be built. */
const stamp = path.join(here, 'quinn.node.made-of');
const cache = path.join(
  process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache'),
  'libp2p-lean',
  'native',
);
/** Where cargo keeps what it makes of any checkout. */
export const target = path.join(cache, 'target');

const say = (line) => console.error(`quinn engine: ${line}`);

const hash = (...parts) => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part).update('\0');
  return sum.digest('hex').slice(0, 20);
};

const hashOfSources = () => {
  const files = ['Cargo.toml', 'Cargo.lock', 'build.rs'];
  for (const name of readdirSync(path.join(here, 'src')).sort()) files.push(path.join('src', name));
  return hash(...files.flatMap((file) => [file, readFileSync(path.join(here, file))]));
};

/** The Rust on PATH: its version and all that it says of itself, or why it is of no use here. */
export const rust = () => {
  let text;
  try {
    execFileSync('cargo', ['--version'], { stdio: 'ignore' });
    text = execFileSync('rustc', ['--version', '--verbose'], { encoding: 'utf8' });
  } catch {
    return { lack: 'there is no cargo on PATH' };
  }
  const version = /^rustc ([\d.]+)/.exec(text)?.[1] ?? '0.0';
  if (!isOlder(version, minimum())) return { version, text };
  return { lack: `Rust ${version} is too old; ${minimum()} or newer is needed` };
};

const numbers = (version) => version.split('.').map(Number);

const isOlder = (version, wanted) => {
  const [major, minor] = numbers(version);
  const [wantedMajor, wantedMinor] = numbers(wanted);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
};

const minimum = () => {
  const manifest = readFileSync(path.join(here, 'Cargo.toml'), 'utf8');
  return /^rust-version = "([\d.]+)"/m.exec(manifest)[1];
};

const read = (file) => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
};

/** In one step: others may load the file meanwhile. */
const put = (from, to) => {
  const draft = `${to}.${process.pid}`;
  copyFileSync(from, draft);
  renameSync(draft, to);
};

/** Resolves with cargo's exit code. */
const cargo = async () => {
  const child = spawn(
    'cargo',
    ['build', '--release', '--locked', '--manifest-path', path.join(here, 'Cargo.toml')],
    // Progress on stderr: stdout is for results.
    { env: { ...process.env, CARGO_TARGET_DIR: target }, stdio: ['ignore', 2, 2] },
  );
  const [code] = await once(child, 'close');
  return code;
};

/**
 * Makes native/quinn.node what the sources say; true when it is there.
 *
 * @param again whether to try what has failed before with the same sources.
 */
export const buildQuinn = async ({ again }) => {
  const sources = hashOfSources();
  const made = read(stamp);
  if (made === sources && existsSync(built)) return true;
  rmSync(built, { force: true });

  const skip = (why) => {
    say(`skipped: ${why}`);
    return false;
  };
  if (made === `failed ${sources}` && !again) {
    return skip('its build failed (`node native/build.mjs` tries again)');
  }
  const compiler = rust();
  if (compiler.lack) return skip(compiler.lack);

  const key = hash(sources, compiler.text);
  const kept = path.join(cache, key, 'quinn.node');
  if (!existsSync(kept)) {
    mkdirSync(path.dirname(kept), { recursive: true });
    const lock = await takeLock(path.join(cache, 'build.lock'), (holder) =>
      say(`waiting for process ${holder}, which builds already`),
    );
    try {
      if (!existsSync(kept)) {
        say(`building it with Rust ${compiler.version}, which takes a few minutes, once`);
        const code = await cargo();
        if (code !== 0) {
          writeFileSync(stamp, `failed ${sources}`);
          return skip(`cargo ended with code ${code}`);
        }
        put(path.join(target, 'release', libraryOf(process.platform)), kept);
      }
    } finally {
      lock.release();
    }
  }
  put(kept, built);
  writeFileSync(stamp, sources);
  return true;
};

/** For those to whom a checkout is of use without it: nothing is thrown, one line says what is wrong. */
export const buildIfPossible = async () => {
  try {
    await buildQuinn({ again: false });
  } catch (error) {
    say(`skipped: ${error.message}`);
  }
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === '--if-possible') await buildIfPossible();
  else process.exitCode = (await buildQuinn({ again: true })) ? 0 : 1;
}
