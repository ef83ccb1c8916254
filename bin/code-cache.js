// Loads the bundled command line with V8's code cache of an earlier run, which halves its start-up.
//
// The cache is taken when the process ends, so that it holds every function that was used: Node.js's own
// (NODE_COMPILE_CACHE) is taken before the code runs and has none of those that are compiled when they
// are first called. There are several for a bundle, since what is not needed takes time to read, too; and
// each says which uses of the bundle are in it. A process that uses it in another way adds what it needed.
'use strict';

const fs = require('node:fs');
const nodeModule = require('node:module');
const path = require('node:path');
const vm = require('node:vm');

/** Caches of other bundles are kept for so long, ms: 30 days. */
const KEPT = 30 * 24 * 3_600_000;
/** A process that has run for longer may have thrown away what it needed at its start, s. */
const YOUNG = 300;

/**
 * The exports of the bundle.
 *
 * @param file where it is
 * @param text what is in it; it starts with its hash, `//` and 16 hexadecimal digits
 * @param folder where its caches are; `undefined`: there are none
 * @param use `{ cache, name }`: which cache, as the end of a file name, and what for, a word or none
 * @param debug told what becomes of the cache
 */
const load = (file, text, folder, use, debug) => {
  // Bun caches by itself.
  if (folder === undefined || process.versions.bun) return require(file);
  const id = text.slice(2, 18);
  const home = path.join(folder, runtime());
  const cache = path.join(home, `libp2p-lean-${id}-${use.cache}`);
  const { data, uses } = read(cache, debug);
  const script = new vm.Script(nodeModule.wrap(text), {
    filename: file,
    cachedData: data,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const taken = data !== undefined && !script.cachedDataRejected;
  if (taken) debug(`code cache ${cache}`);
  if (!taken || !uses.includes(use.name)) {
    const all = taken ? [...uses, use.name] : [use.name];
    process.on('exit', (code) => {
      if (code === 0 && process.uptime() < YOUNG) keep(home, cache, id, script, all, debug);
    });
  }
  const loaded = new nodeModule(file);
  require.cache[file] = loaded;
  loaded.filename = file;
  loaded.loaded = true;
  const run = script.runInThisContext();
  const { exports } = loaded;
  run.call(exports, exports, nodeModule.createRequire(file), loaded, file, path.dirname(file));
  return loaded.exports;
};

/** V8 takes no cache of another build of Node.js: each file that is a Node.js has a folder of its own. */
const runtime = () => {
  let hash = 0;
  for (const char of process.execPath) hash = (hash * 31 + char.charCodeAt(0)) | 0;
  return `${process.version}-${process.arch}-${(hash >>> 0).toString(16)}`;
};

/** A cache is V8's data, the uses as JSON, and how long those are, in 4 bytes. */
const read = (cache, debug) => {
  try {
    const bytes = fs.readFileSync(cache);
    const end = bytes.length - 4;
    const start = end - bytes.readUInt32LE(end);
    return { data: bytes.subarray(0, start), uses: JSON.parse(bytes.latin1Slice(start, end)) };
  } catch (error) {
    // A missing one is no failure, and is not to read like one in a log.
    debug(`no code cache yet${error.code === 'ENOENT' ? '' : `: ${error.message}`}`);
    return {};
  }
};

/** In one step, since others may write it too. Where that is not possible, there is no cache. */
const keep = (home, cache, id, script, uses, debug) => {
  const draft = `${cache}.${process.pid}`;
  try {
    fs.mkdirSync(home, { recursive: true });
    fs.accessSync(home, fs.constants.W_OK);
    const words = Buffer.from(JSON.stringify(uses));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(words.length);
    fs.writeFileSync(draft, Buffer.concat([script.createCachedData(), words, length]));
    fs.renameSync(draft, cache);
    removeOld(home, id);
  } catch (error) {
    debug(`the code cache is not kept: ${error.message}`);
  }
};

const removeOld = (home, id) => {
  for (const name of fs.readdirSync(home)) {
    const file = path.join(home, name);
    if (name.includes(id)) continue;
    if (Date.now() - fs.statSync(file).mtimeMs > KEPT) fs.rmSync(file, { force: true });
  }
};

module.exports = { load };
