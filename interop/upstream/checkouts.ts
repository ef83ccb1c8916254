/**
 * The harnesses' own scripts, run in copies of their checkouts: what interop/upstream holds is pasted in
 * as its README says, and what they would download from GitHub, the archive of one commit, is made from
 * this checkout. Nothing is written into the checkouts.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { messageOf } from '../../src/errors.ts';
import { allCells } from '../runner/cells.ts';
import { run } from '../runner/command.ts';
import { MatrixError } from '../runner/error.ts';
import { readImages } from '../runner/images.ts';
import { ROOT } from '../runner/participants.ts';
import type { Suite } from './compose.ts';

/** Our id without its version: which selects us alone. */
export const FAMILY = 'libp2p-lean';
export const OURS = `${FAMILY}-v0.1`;

const UPSTREAM = join(ROOT, 'interop', 'upstream');
/** Images may have to be built first, those of others, too. */
const SCRIPT_TIMEOUT_MS = 4 * 3_600_000;

/** How one test of a harness ended. */
export interface Verdict {
  readonly name: string;
  readonly passed: boolean;
}

/** This checkout, as GitHub would serve it. */
export interface Archive {
  /** 40 hexadecimal digits. */
  readonly commit: string;
  /** Path of a zip file whose content is in a folder named after repository and commit. */
  readonly zip: string;
}

/** Options of a run. */
export interface RunOptions {
  /** An empty folder, for the copy and everything else. */
  readonly folder: string;
  readonly archive: Archive;
  /** The implementations to run with ours, as `--impl-select` takes them; empty: ours alone. */
  readonly others: string;
  /** Ends the script that runs. */
  readonly signal: AbortSignal;
}

/** The names for the two words in capitals that everything in interop/upstream has. */
export const fillIn = (text: string, owner: string, commit: string): string =>
  text.replaceAll('OWNER', owner).replaceAll('COMMIT', commit);

/** Packs the tracked files of the work tree. */
export const makeArchive = async (folder: string): Promise<Archive> => {
  const git = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(['git', ...args], 60_000, ROOT);
    if (code !== 0) throw new MatrixError(`git ${args[0]}: ${stderr.trim()}`);
    return stdout.trim();
  };
  // A dangling commit of the changes; empty where there are none.
  const commit = (await git('stash', 'create')) || (await git('rev-parse', 'HEAD'));
  const zip = join(folder, `${commit}.zip`);
  await git('archive', '--format=zip', `--prefix=${FAMILY}-${commit}/`, `--output=${zip}`, commit);
  return { commit, zip };
};

/** Runs a script with its output on ours. @returns its exit code. @throws when it cannot be run. */
const runScript = async (
  command: readonly string[],
  cwd: string,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<number> => {
  const [file = '', ...args] = command;
  const child = spawn(file, args, {
    cwd,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: SCRIPT_TIMEOUT_MS,
    signal,
  });
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    signal.throwIfAborted();
    return code ?? 1;
  } catch (error) {
    throw new MatrixError(`${file}: ${messageOf(error)}`);
  }
};

const copyCheckout = async (checkout: string, folder: string): Promise<string> => {
  const copy = join(folder, basename(checkout));
  await cp(checkout, copy, {
    recursive: true,
    filter: (path) => !['.git', '.cache'].includes(basename(path)),
  });
  return copy;
};

interface ImagesFile {
  'test-aliases': { alias: string; value: string }[];
  implementations: { id: string }[];
  baselines?: { id: string }[];
}

/**
 * Our entry in a harness's images.yaml.
 *
 * @throws MatrixError when a filter that selects us would select another, or the other way round.
 */
export const paste = (theirs: ImagesFile, ours: ImagesFile): ImagesFile => {
  for (const { id } of [...theirs.implementations, ...(theirs.baselines ?? [])]) {
    if (id.includes(FAMILY) || OURS.includes(id)) {
      throw new MatrixError(`the id ${OURS} and upstream's ${id} select each other`);
    }
  }
  const aliases = new Map(theirs['test-aliases'].map(({ alias, value }) => [alias, value]));
  for (const { alias, value } of ours['test-aliases']) {
    const before = aliases.get(alias);
    aliases.set(alias, before === undefined ? value : `${before}|${value}`);
  }
  return {
    ...theirs,
    'test-aliases': [...aliases].map(([alias, value]) => ({ alias, value })),
    implementations: [...theirs.implementations, ...ours.implementations],
  };
};

/** Flags of each suite's `run.sh`, besides the selection. */
const SUITE_FLAGS: Readonly<Record<Suite, readonly string[]>> = {
  transport: [],
  // Amounts small enough for a check.
  perf: [
    ...['--baseline-ignore', '~baselines', '--test-ignore', '~failing'],
    ...['--upload-bytes', '8388608', '--download-bytes', '8388608'],
    ...['--iterations', '3', '--latency-iterations', '5'],
  ],
};

/** libp2p/unified-testing: `run.sh` of a suite builds our image from the archive and runs the tests. */
export const runUnifiedTesting = async (
  suite: Suite,
  checkout: string,
  { folder, archive, others, signal }: RunOptions,
): Promise<Verdict[]> => {
  const scripts = join(await copyCheckout(checkout, folder), suite);
  const list = join(scripts, 'images.yaml');
  const entry = await readFile(join(UPSTREAM, 'unified-testing', `${suite}-images.yaml`), 'utf8');
  const pasted = paste(
    parse(await readFile(list, 'utf8')) as ImagesFile,
    parse(fillIn(entry, 'libp2p-lean', archive.commit)) as ImagesFile,
  );
  await writeFile(list, stringify(pasted, { lineWidth: 0 }));
  const snapshots = join(scripts, '.cache', 'snapshots');
  await mkdir(snapshots, { recursive: true });
  await cp(archive.zip, join(snapshots, `${archive.commit}.zip`));
  // Its own temporary folders are left behind otherwise.
  const temporary = join(folder, 'tmp');
  await mkdir(temporary);
  const environment = { TMPDIR: temporary };
  if ((await runScript(['./run.sh', '--check-deps'], scripts, environment, signal)) !== 0) {
    throw new MatrixError(`${suite}/run.sh --check-deps: see above what is missing`);
  }
  const selection = others === '' ? FAMILY : `${FAMILY}|${others}`;
  await runScript(
    [
      ...['./run.sh', '--yes', '--impl-select', selection, '--test-select', FAMILY],
      ...SUITE_FLAGS[suite],
      // Without it the perf suite runs each implementation with itself only.
      ...(suite === 'perf' && others !== '' ? ['--full-matrix-test'] : []),
    ],
    scripts,
    environment,
    signal,
  );
  const runs = join(scripts, '.cache', 'test-run');
  const [pass = ''] = await readdir(runs).catch(() => []);
  const written = await readFile(join(runs, pass, 'results.yaml'), 'utf8').catch(() => {
    throw new MatrixError(`${suite}/run.sh ended without results; see above why`);
  });
  const results = parse(written) as {
    tests?: { name: string; status: string }[];
    testResults?: { name: string; status: string }[];
  };
  const tests = results.tests ?? results.testResults ?? [];
  return tests.map(({ name, status }) => ({ name, passed: status === 'pass' }));
};

/** libp2p/test-plans, transport-interop: our Makefile builds the image, `npm test` runs the tests. */
export const runTestPlans = async (
  checkout: string,
  { folder, archive, others, signal }: RunOptions,
): Promise<Verdict[]> => {
  if ((await run(['docker', 'buildx', 'version'], 20_000)).code !== 0) {
    throw new MatrixError('docker buildx is missing: test-plans builds images with it');
  }
  const scripts = join(await copyCheckout(checkout, folder), 'transport-interop');
  const list = join(scripts, 'versionsInput.json');
  const entries = [list, join(UPSTREAM, 'test-plans', 'versionsInput.json')].map(
    async (path) => JSON.parse(await readFile(path, 'utf8')) as object[],
  );
  await writeFile(list, JSON.stringify((await Promise.all(entries)).flat(), null, 2));
  const implementation = join(scripts, 'impl', FAMILY);
  await cp(join(UPSTREAM, 'test-plans', 'impl', FAMILY), implementation, { recursive: true });
  const version = join(implementation, 'v0.1');
  const makefile = join(version, 'Makefile');
  const text = await readFile(makefile, 'utf8');
  await writeFile(makefile, fillIn(text, 'libp2p-lean', archive.commit));
  await cp(archive.zip, join(version, `${FAMILY}-${archive.commit}.zip`));
  const pairs = others.split('|').filter((id) => id !== '');
  const filter = [OURS, ...pairs].flatMap((id) => [`${OURS} x ${id}`, `${id} x ${OURS}`]).join('|');
  for (const [command, cwd] of [
    [['make', 'version.lock'], version],
    [['make'], version],
    [['npm', 'ci', '--no-audit', '--no-fund'], scripts],
    [['npm', 'run', 'test', '--', `--name-filter=${filter}`], scripts],
  ] as const) {
    // Variables that our own `make` sets must not reach theirs.
    const environment = { MAKEFLAGS: '', MAKELEVEL: '', TMPDIR: folder };
    if ((await runScript(command, cwd, environment, signal)) !== 0) {
      throw new MatrixError(`test-plans: ${command.join(' ')} failed; see above`);
    }
  }
  const lines = (await readFile(join(scripts, 'results.csv'), 'utf8')).trim().split('\n');
  return lines.slice(1).map((line) => {
    const [, name = '', outcome] = /^"?(.*?)"?,(\w+)$/.exec(line) ?? [];
    return { name, passed: outcome === 'success' };
  });
};

/** The tests of ours against ours that a suite of a harness must have run. */
export const expectedTests = async (): Promise<readonly string[]> => {
  const images = await readImages(join(UPSTREAM, 'unified-testing', 'transport-images.yaml'));
  return allCells(images.implementations).map(({ name }) => name);
};

/** The images that the harnesses' scripts make of this checkout. */
export const IMAGES: readonly string[] = [
  `transport-implementations-${OURS}`,
  `perf-implementations-${OURS}`,
  OURS,
];
