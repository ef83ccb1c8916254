// The Node.js that NODE_QUIC names: what it is, and whether it has the node:quic that the engine needs.
//
// Asking takes a start of it, so a good answer is kept in the user's cache folder until the file
// changes. Bad ones are not: what was wrong may have been mended elsewhere.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** Milliseconds: a Node.js on a very busy machine answers in a second or two. */
const TIMEOUT = 20_000;
/** Answers that are kept. */
const MAX_KEPT = 16;

/** Node.js 25.0 to 25.4 had an early node:quic without these; src/quic/node/engine.ts refuses it, too. */
const QUESTION = `import('node:quic').then(({ QuicSession, QuicStream }) => console.log(JSON.stringify({
  bun: process.versions.bun,
  node: process.version,
  early: !('peerCertificate' in QuicSession.prototype && 'writer' in QuicStream.prototype),
})))`;

/**
 * @param file what NODE_QUIC holds
 * @param flags with which it has node:quic
 * @param debug told what goes wrong with the kept answers
 * @returns `{ runtime }`, such as `Node.js v26.10.0`, or `{ lack }`: what is wrong with it, as the end of
 * a sentence that starts with "NODE_QUIC is <file>, "
 */
const examine = (file, flags, debug) => {
  let stat;
  try {
    stat = fs.statSync(file);
  } catch ({ code }) {
    return { lack: code === 'ENOENT' ? 'which does not exist' : `which cannot be read: ${code}` };
  }
  if (!stat.isFile()) return { lack: 'which is not a file' };
  const { mtimeMs, size } = stat;
  const key = { file: path.resolve(file), mtimeMs, size };
  const kept = readKept(debug);
  const known = kept.find(
    (it) => it.file === key.file && it.mtimeMs === mtimeMs && it.size === size,
  );
  if (known) return { runtime: known.runtime };
  const found = ask(key.file, flags);
  if (found.runtime) keep(kept, { ...key, runtime: found.runtime }, debug);
  return found;
};

const ask = (file, flags) => {
  const answer = run(file, [...flags, '-e', QUESTION]);
  const said = parse(answer.stdout);
  if (typeof said?.node === 'string') {
    const runtime = said.bun ? `Bun ${said.bun}` : `Node.js ${said.node}`;
    if (!said.early) return { runtime };
    return { lack: `which is ${runtime} with an early node:quic (24.20 and 26 have a later one)` };
  }
  const { error } = answer;
  if (error) return { lack: `which cannot be run: ${error.code ?? error.message}` };
  // Without the flags, which an old one does not know.
  const version = run(file, ['-p', 'process.version']).stdout.trim();
  if (!/^v\d+\.\d+\.\d+/.test(version)) return { lack: 'which is not a Node.js' };
  return { lack: `which is Node.js ${version} without node:quic` };
};

const run = (file, args) => {
  // Loaded only here: a kept answer does without.
  const { spawnSync } = require('node:child_process');
  const result = spawnSync(file, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: TIMEOUT,
    killSignal: 'SIGKILL',
  });
  return { stdout: result.stdout ?? '', error: result.error };
};

const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

const cacheFile = () => {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const folder = XDG_CACHE_HOME || path.join(HOME || require('node:os').homedir(), '.cache');
  return path.join(folder, 'libp2p-lean', 'node-quic.json');
};

/** What was found out before; a file that is missing or damaged holds nothing. */
const readKept = (debug) => {
  try {
    const entries = parse(fs.readFileSync(cacheFile(), 'utf8'));
    return Array.isArray(entries) ? entries.filter((it) => typeof it?.runtime === 'string') : [];
  } catch (error) {
    debug(`nothing is known of NODE_QUIC yet: ${error.message}`);
    return [];
  }
};

/** In one step, since others may write it too; who comes last wins, and the others ask again. */
const keep = (kept, entry, debug) => {
  try {
    const others = kept.filter(({ file }) => file !== entry.file);
    const file = cacheFile();
    const draft = `${file}.${process.pid}`;
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(draft, JSON.stringify([entry, ...others].slice(0, MAX_KEPT)));
    fs.renameSync(draft, file);
  } catch (error) {
    debug(`what was found out about NODE_QUIC is not kept: ${error.message}`);
  }
};

module.exports = { examine };
