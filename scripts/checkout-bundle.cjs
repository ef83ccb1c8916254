// A checkout's bundle of the command line: what a package has in dist/cli.cjs, built when first needed and
// again when one of its inputs has changed. It is one file,
// node_modules/.cache/libp2p-lean/cli.cjs, whose last line describes its inputs.
//
// Any number of processes may do this at once. Each builds into its own file, runs that, and renames it into
// place: the last one stays, and its last line shows whether it is of the newest sources.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** The inputs of a bundle: files, and folders with their contents. */
const INPUTS = [
  'src',
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'scripts/bundle.mjs',
  'node_modules/.package-lock.json',
];
/** A build takes half a second; on a very busy machine this is enough, ms. */
const TIMEOUT = 60_000;

/** Where `root` has its bundle, and beside it its code caches. */
const folderOf = (root) => path.join(root, 'node_modules', '.cache', 'libp2p-lean');

/**
 * The bundle of the sources as they are now.
 *
 * @param root the checkout
 * @param debug told why it is built
 * @returns `{ file, text }`, or `{ failure }` where it cannot be built: one line
 */
const checkoutBundle = (root, debug) => {
  const folder = folderOf(root);
  const file = path.join(folder, 'cli.cjs');
  // Before anything is read: what changes from here on is not in it, and shows the next time.
  const state = stateOf(root);
  const text = read(file);
  if (text?.endsWith(state)) return { file, text };
  debug(
    `${text === undefined ? 'there is no bundle yet' : 'the bundle is out of date'}: building it`,
  );
  try {
    return { file, text: build(root, folder, file, state) };
  } catch (error) {
    return { failure: error.message };
  }
};

/** Which files there are, when each was last written or replaced (µs; ctime), and how long it is. */
const stateOf = (root) => {
  const parts = [];
  const look = (name) => {
    const stat = fs.statSync(path.join(root, name), { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory()) parts.push(name, Math.round(stat.ctimeMs * 1000), stat.size);
    else for (const entry of fs.readdirSync(path.join(root, name)).sort()) look(`${name}/${entry}`);
  };
  for (const name of INPUTS) look(name);
  // In ASCII, whatever the names of the files.
  return `\n//${encodeURI(parts.join(','))}\n`;
};

const read = (file) => {
  try {
    return fs.readFileSync(file, 'latin1'); // it holds nothing but ASCII
  } catch {
    return undefined;
  }
};

/** @throws Error with one line that says why there is no bundle. */
const build = (root, folder, file, state) => {
  fs.mkdirSync(folder, { recursive: true });
  const draft = path.join(folder, `cli.${process.pid}.cjs`);
  // Loaded only here: a bundle that is there does without.
  const { spawnSync } = require('node:child_process');
  try {
    const script = path.join(root, 'scripts', 'bundle.mjs');
    const { stdout, stderr, status, error } = spawnSync(process.execPath, [script, draft], {
      encoding: 'utf8',
      timeout: TIMEOUT,
      killSignal: 'SIGKILL',
    });
    if (status !== 0) throw new Error(whyNot(stdout, stderr, error));
    const text = fs.readFileSync(draft, 'utf8') + state;
    fs.writeFileSync(draft, text);
    fs.renameSync(draft, file);
    removeLeftovers(folder, text.slice(2, 18));
    return text;
  } finally {
    fs.rmSync(draft, { force: true });
  }
};

/** Drafts whose process was killed, and code caches of bundles that are no more. */
const removeLeftovers = (folder, id) => {
  for (const name of fs.readdirSync(folder, { recursive: true })) {
    const file = path.join(folder, name);
    const isCache = /(^|\/)libp2p-lean-[0-9a-f]{16}/.test(name) && !name.includes(id);
    const isDraft = /^cli\.\d+\.cjs$/.test(name) && isOld(file);
    if (isCache || isDraft) fs.rmSync(file, { force: true });
  }
};

const isOld = (file) => {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat !== undefined && Date.now() - stat.mtimeMs > 2 * TIMEOUT;
};

const whyNot = (stdout, stderr, error) => {
  if (error) return error.message;
  try {
    return JSON.parse(stdout).failure;
  } catch {
    // It did not get as far as esbuild.
    const [line] = /^\w*Error\b.*$/m.exec(stderr) ?? stderr.trim().split('\n');
    return line || 'scripts/bundle.mjs ended without a message';
  }
};

module.exports = { checkoutBundle, folderOf };
