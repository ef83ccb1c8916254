/** `bin/libp2p-lean` on whatever runtime it is started with. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { VERSION } from '../../src/version.ts';
import { whyNoQuinn } from '../support/engines.ts';
import { LAUNCHER, run, start, type Variables } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };

/** The `node` on PATH, when it is too old to strip types. */
const oldNode = ((): string | undefined => {
  const found = spawnSync('node', ['-p', 'process.execPath + " " + process.features.typescript']);
  const [file, strips] = String(found.stdout).trim().split(' ');
  return strips === 'undefined' || strips === 'false' ? file : undefined;
})();
const noOldNode = oldNode === undefined && 'the node on PATH is a new one';

/** A copy of `bin/` as it is in a package, without anything else. */
const emptyPackage = (t: TestContext): string => {
  const root = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(root, { recursive: true }));
  cpSync(path.dirname(LAUNCHER), path.join(root, 'bin'), { recursive: true });
  return root;
};

test('runs by itself, through its first line', HANG, async () => {
  const { code, stdout, stderr } = await run(['--version'], {}, [LAUNCHER]);
  assert.deepEqual([code, stdout, stderr], [0, `${VERSION}\n`, '']);
});

test('runs on an old node', { ...HANG, skip: noOldNode }, async () => {
  const { code, stdout, stderr } = await run(['--version'], {}, [oldNode ?? '', LAUNCHER]);
  assert.deepEqual([code, stdout, stderr], [0, `${VERSION}\n`, '']);
});

test('an old node passes on signals and the exit code', { ...HANG, skip: noOldNode }, async (t) => {
  const command = [oldNode ?? '', LAUNCHER];
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const listener = start(['listen', '/ip4/127.0.0.1/udp/0/quic-v1'], {}, command);
    t.after(() => listener.dispose());
    await listener.waitFor(/\/p2p\//);
    listener.kill(signal);
    const outcome = await listener.ended;
    assert.deepEqual([outcome.code, outcome.signal, outcome.stderr], [0, null, '']);
  }
  const wrong = await run(['ping'], {}, command);
  assert.equal(wrong.code, 2);
});

test('a node that is too old for a package: one line', async (t) => {
  const root = emptyPackage(t);
  const preload = path.join(root, 'old.cjs');
  writeFileSync(preload, "Object.defineProperty(process, 'version', { value: 'v18.20.0' });");
  const command = [process.execPath, '-r', preload, path.join(root, 'bin', 'libp2p-lean')];
  const { code, stderr } = await run([], {}, command);
  assert.equal(stderr, 'libp2p-lean: Node.js v18.20.0 is too old; version 22 or newer is needed\n');
  assert.equal(code, 2);
});

test('a package without dist: one line', async (t) => {
  const command = [process.execPath, path.join(emptyPackage(t), 'bin', 'libp2p-lean')];
  const { code, stderr } = await run([], {}, command);
  assert.equal(stderr, 'libp2p-lean: dist/cli.cjs is missing: `npm run build` makes it\n');
  assert.equal(code, 2);
});

const nodeQuic = process.env.NODE_QUIC ?? '';
const noNodeQuic = nodeQuic === '' && 'NODE_QUIC is not set';
const TCP = '/ip4/127.0.0.1/tcp/0';
const QUIC = '/ip4/127.0.0.1/udp/0/quic-v1';

const temporaryFolder = (t: TestContext): string => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
};

/** Runs it to its end; the end of the test ends it, whatever happens. */
const runFor = (t: TestContext, args: readonly string[], variables: Variables) => {
  const participant = start(args, variables);
  t.after(() => participant.dispose());
  return participant.ended;
};

/** Starts `listen`, waits until it listens, ends it; what it said on stderr. */
const listened = async (
  t: TestContext,
  args: readonly string[],
  variables: Variables,
): Promise<string> => {
  const listener = start(['listen', ...args], variables);
  t.after(() => listener.dispose());
  await listener.waitFor(/\/p2p\//);
  listener.kill('SIGTERM');
  const { code, stderr } = await listener.ended;
  assert.equal(code, 0, stderr);
  return stderr;
};

describe('NODE_QUIC', SUITE, () => {
  const useless: [file: string, message: string][] = [
    ['/nowhere/node', 'which does not exist'],
    ['/usr/bin/true', 'which is not a Node.js'],
    ['/usr/bin/yes', 'which is not a Node.js'],
    ['/etc/passwd', 'which cannot be run: EACCES'],
    ['/etc', 'which is not a file'],
    [process.execPath, `which is Node.js ${process.version} without node:quic`],
  ];
  const asked = { QUIC_ENGINE: 'node' };
  const quic = { IS_DIALER: 'true', TRANSPORT: 'quic-v1', REDIS_ADDR: 'x:1', TEST_KEY: 'k' };
  const participant = { ...quic, ...asked };
  const uses: [args: string[], variables: Variables][] = [
    [['listen'], asked],
    [['listen', QUIC, '--engine', 'node'], { QUIC_ENGINE: 'quiche' }],
    [['ping', `${TCP}`, '/dnsaddr/example.org', '--engine=node'], {}],
    [['perf', '--listen', QUIC], { QUIC_ENGINE: 'node' }],
    [['transport'], participant],
    [[], participant],
    [['perf'], participant],
  ];
  for (const [file, message] of useless) {
    test(`${file}: one line, and 2`, HANG, async (t) => {
      if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
      const must = 'it must name a Node.js that was built with node:quic, or be unset';
      // Each use with one file is enough.
      for (const [args, variables] of file === '/usr/bin/true' ? uses : uses.slice(0, 1)) {
        const { code, stdout, stderr } = await runFor(t, args, { ...variables, NODE_QUIC: file });
        assert.equal(stderr, `libp2p-lean: NODE_QUIC is ${file}, ${message}; ${must}\n`, `${args}`);
        assert.deepEqual([code, stdout], [2, '']);
      }
    });
  }

  test('with auto it is looked at where there is no binary of quinn', HANG, async (t) => {
    if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
    const root = emptyPackage(t);
    const command = [process.execPath, path.join(root, 'bin', 'libp2p-lean')];
    const variables = { NODE_QUIC: '/nowhere/node', DEBUG: 'true' };
    const used = /libp2p-lean: NODE_QUIC is \/nowhere\/node, which does not exist;/;
    assert.match((await run(['listen'], variables, command)).stderr, used);
    const binary = path.join(root, 'native', 'quinn.node');
    mkdirSync(path.dirname(binary));
    writeFileSync(binary, 'not ELF');
    const broken = await run(['listen'], variables, command);
    assert.match(broken.stderr, /launcher: quinn: .*\n.*libp2p-lean: NODE_QUIC is /s);
    if (whyNoQuinn !== undefined) return t.diagnostic(whyNoQuinn);
    cpSync(path.join(path.dirname(LAUNCHER), '..', 'native', 'quinn.node'), binary);
    const { stderr } = await run(['listen'], variables, command);
    assert.match(stderr, /launcher: NODE_QUIC is not used: the engine is quinn\n/);
    const asksForNode = await run(['listen', '--engine', 'node'], variables, command);
    assert.match(asksForNode.stderr, used);
  });

  test('is not looked at where it cannot be needed', HANG, async (t) => {
    const variables = { NODE_QUIC: '/nowhere/node', DEBUG: 'true', TRANSPORT: 'quic-v1' };
    const unused = /launcher: NODE_QUIC is not used: (.+)\n/;
    const needless = await listened(t, [TCP], variables);
    assert.equal(unused.exec(needless)?.[1], 'no QUIC is needed');
    assert.doesNotMatch(needless, /launcher: using/);
    const quiche = await listened(t, [QUIC, '--engine', 'quiche'], variables);
    assert.equal(unused.exec(quiche)?.[1], 'the engine is quiche');
    const tcp = { ...variables, IS_DIALER: 'true', TRANSPORT: 'tcp' };
    assert.match((await runFor(t, [], tcp)).stderr, unused);
    for (const args of [['--version'], ['--help'], ['listen', '--help'], ['ping', TCP], []]) {
      const { stderr } = await runFor(t, args, { NODE_QUIC: '/nowhere/node' });
      assert.doesNotMatch(stderr, /NODE_QUIC/, `${args}`);
    }
  });

  for (const [name, args, variables] of [
    ...(whyNoQuinn === undefined ? [] : ([['auto', [], {}]] as const)),
    ['QUIC_ENGINE=node', [], { QUIC_ENGINE: 'node' }],
    ['--engine node', ['--engine', 'node'], { QUIC_ENGINE: 'quiche' }],
  ] as [string, string[], Variables][]) {
    test(`${name} uses it, and says so`, { ...HANG, skip: noNodeQuic }, async (t) => {
      const all = { ...variables, NODE_QUIC: nodeQuic };
      const listener = start(['listen', '--debug', QUIC, ...args], all);
      t.after(() => listener.dispose());
      const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
      const ping = await runFor(t, ['ping', '-c', '1', '--debug', address, ...args], all);
      assert.match(ping.stdout, /quic-v1 \(node\)/, ping.stderr);
      if (!isBuiltin('node:quic')) {
        assert.match(ping.stderr, /launcher: using \S+ --experimental-quic .*: NODE_QUIC names it/);
      }
      assert.match(ping.stderr, /engine:select engine=node/);
      assert.doesNotMatch(ping.stderr, /\(node:\d+\)/);
      assert.equal(ping.code, 0);
      listener.kill('SIGTERM');
      assert.equal((await listener.ended).code, 0);
      assert.match(listener.stderr(), /engine:select engine=node/);
    });
  }

  test('is asked what it is once, until it changes', { ...HANG, skip: noNodeQuic }, async (t) => {
    if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
    const folder = temporaryFolder(t);
    const [file, starts] = [path.join(folder, 'node'), path.join(folder, 'starts')];
    writeFileSync(file, `#!/bin/sh\necho >>${starts}\nexec ${nodeQuic} "$@"\n`, { mode: 0o755 });
    writeFileSync(starts, '');
    const cache = path.join(folder, 'cache', 'here');
    const startsOf = async (variables: Variables): Promise<number> => {
      truncateSync(starts);
      // It gets as far as to that address.
      const args = ['listen', '/ip4/127.0.0.1/udp/x/quic-v1'];
      const { code, stderr } = await runFor(t, args, { ...asked, NODE_QUIC: file, ...variables });
      assert.equal(code, 2, stderr);
      assert.doesNotMatch(stderr, /NODE_QUIC/);
      return readFileSync(starts, 'utf8').length;
    };
    const known = { XDG_CACHE_HOME: cache };
    assert.deepEqual([await startsOf(known), await startsOf(known)], [2, 1]);
    writeFileSync(path.join(cache, 'libp2p-lean', 'node-quic.json'), '[{"file":');
    assert.deepEqual([await startsOf(known), await startsOf(known)], [2, 1]);
    appendFileSync(file, '\n');
    assert.deepEqual([await startsOf(known), await startsOf(known)], [2, 1]);
    // A file is no folder: nothing can be kept.
    const nowhere = { XDG_CACHE_HOME: starts };
    assert.deepEqual([await startsOf(nowhere), await startsOf(nowhere)], [2, 2]);
    assert.deepEqual(readdirSync(path.join(cache, 'libp2p-lean')), ['node-quic.json']);
  });

  test('not set, where node:quic is asked for: 127, and what to set', HANG, async (t) => {
    if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
    for (const args of [
      ['listen', '--engine', 'node'],
      ['ping', '--engine', 'node', '/ip4/127.0.0.1/udp/9/quic-v1'],
    ]) {
      const { code, stderr } = await runFor(t, args, {});
      assert.match(stderr, /^libp2p-lean: the engine node .*; NODE_QUIC can name a Node.js .*\n$/);
      assert.equal(code, 127);
    }
  });
});

test('DEBUG=true says the same of the engine as --debug', HANG, async (t) => {
  const engineLine = /engine:select engine=\w+ role=listener why=.+/;
  const [byFlag] = engineLine.exec(await listened(t, [QUIC, '--debug'], {})) ?? [];
  const [byVariable] = engineLine.exec(await listened(t, [QUIC], { DEBUG: 'true' })) ?? [];
  assert.ok(byFlag);
  assert.equal(byVariable, byFlag);
});
