/** A cgroup with a memory limit, for processes that tests start: version 1 or 2, whichever this machine lets us make. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../../src/errors.ts';

const ROOT = '/sys/fs/cgroup';
const REMOVE_TIMEOUT = 10_000;

export interface MemoryCgroup {
  /** A shell command that puts the shell into it. */
  readonly enter: string;
  /** Ends the processes in it, and removes it. */
  remove(): Promise<void>;
}

/** @returns the cgroup, or a line that says why there can be none. */
export const memoryCgroup = (bytes: number): MemoryCgroup | string => {
  const first = join(ROOT, 'memory');
  const second = existsSync(join(ROOT, 'cgroup.controllers'));
  const parent = second ? ROOT : first;
  const folder = join(parent, `libp2p-lean-${process.pid}`);
  try {
    accessSync(parent, constants.W_OK);
    if (second) {
      const controllers = readFileSync(join(ROOT, 'cgroup.controllers'), 'utf8').split(/\s/);
      if (!controllers.includes('memory')) return 'cgroup 2 has no memory controller here';
      writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+memory');
    }
    mkdirSync(folder);
    writeFileSync(join(folder, second ? 'memory.max' : 'memory.limit_in_bytes'), String(bytes));
  } catch (error) {
    if (existsSync(folder)) rmdirSync(folder);
    return `no cgroup with a memory limit can be made here: ${messageOf(error)}`;
  }
  return {
    enter: `echo $$ > ${join(folder, 'cgroup.procs')}`,
    remove: async () => {
      const until = performance.now() + REMOVE_TIMEOUT;
      for (;;) {
        for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n')) {
          if (pid !== '') process.kill(Number(pid), 'SIGKILL');
        }
        try {
          rmdirSync(folder);
          return;
        } catch (error) {
          if (performance.now() > until) throw error;
          await delay(20);
        }
      }
    },
  };
};
