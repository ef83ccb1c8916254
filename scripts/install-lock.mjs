// A lock between processes: a file with the ids of the processes that hold it. It is taken over when none of
// them is alive, so a killed process leaves nothing to clean up.
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';

/** How often the file is checked while another process holds it, ms. */
const POLL = 100;
/** An empty lock file is being written, unless it is older than this, ms. */
const WRITING = 5_000;
/** Longer than any installation, ms. */
const PATIENCE = 30 * 60_000;

/**
 * Takes the lock; `onWait(pid)` is called once when a process has to be waited for.
 *
 * @throws when it is not free after half an hour, or cannot be written.
 */
export const takeLock = async (file, onWait) => {
  const until = Date.now() + PATIENCE;
  let told = false;
  while (!create(file)) {
    const holder = read(file);
    if (holder !== undefined && !isHeld(holder)) removeStale(file);
    else if (Date.now() > until) throw new Error(`${file} is held: remove it if nothing installs`);
    else if (!told && holder?.pids !== undefined) {
      told = true;
      onWait(holder.pids[0]);
    }
    await delay(POLL);
  }
  const pids = [process.pid];
  return {
    /** The lock is also held while that process is alive. */
    shareWith: (pid) => {
      pids.push(pid);
      const draft = `${file}.${process.pid}`;
      writeFileSync(draft, describe(pids));
      renameSync(draft, file);
    },
    release: () => rmSync(file, { force: true }),
  };
};

/** Tries to create the lock file; whether that succeeded. */
const create = (file) => {
  try {
    writeFileSync(file, describe([process.pid]), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
};

/** A process id may be used again; together with its start time it is unique. */
const describe = (pids) => JSON.stringify({ host: os.hostname(), pids, starts: pids.map(startOf) });

/** The content of the lock file; undefined when there is none. */
const read = (file) => {
  try {
    const text = readFileSync(file, 'utf8');
    return text === '' ? { writing: age(file) < WRITING } : JSON.parse(text);
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return { writing: false };
    throw error;
  }
};

const age = (file) => Date.now() - statSync(file).mtimeMs;

const isHeld = ({ host, pids, starts, writing }) => {
  if (pids === undefined) return writing;
  // The checkout may be mounted in a container, whose processes are not seen from here.
  if (host !== os.hostname()) return true;
  return pids.some((pid, i) => isAlive(pid) && startOf(pid) === starts[i]);
};

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== 'ESRCH';
  }
};

/** In clock ticks since boot, where /proc tells; for a process that has ended and was not waited for: `ended`. */
const startOf = (pid) => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // Fields 3 and 22; the name, in parentheses, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? 'ended' : fields[19];
  } catch {
    return undefined;
  }
};

/**
 * Removes the lock if its holders are dead: one process at a time, or the second one would remove the lock that
 * the first has just taken.
 */
const removeStale = (file) => {
  const guard = `${file}.stale`;
  try {
    if (!create(guard)) {
      if (age(guard) > WRITING) rmSync(guard, { force: true });
      return;
    }
  } catch (error) {
    if (error.code === 'ENOENT') return;
    throw error;
  }
  try {
    const holder = read(file);
    if (holder !== undefined && !isHeld(holder)) rmSync(file, { force: true });
  } finally {
    rmSync(guard, { force: true });
  }
};
