/** `bin/libp2p-lean` on whatever runtime it is started with. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { VERSION } from '../../src/version.ts';
import { LAUNCHER, run, start } from '../support/participant.ts';

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

test('runs on an old node by way of the pinned one', { ...HANG, skip: noOldNode }, async () => {
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

test('an old node in a checkout without node_modules: one line', { skip: noOldNode }, async (t) => {
  const root = emptyPackage(t);
  mkdirSync(path.join(root, 'src'));
  writeFileSync(path.join(root, 'src', 'cli.ts'), '');
  const command = [oldNode ?? '', path.join(root, 'bin', 'libp2p-lean')];
  const { code, stderr } = await run([], {}, command);
  assert.match(stderr, /^libp2p-lean: Node\.js v\S+ cannot run this checkout .*npm ci.*\n$/);
  assert.equal(code, 2);
});

test('a node that is too old for a package: one line', async (t) => {
  const root = emptyPackage(t);
  const preload = path.join(root, 'old.cjs');
  writeFileSync(preload, "Object.defineProperty(process, 'version', { value: 'v18.20.0' });");
  const command = [process.execPath, '-r', preload, path.join(root, 'bin', 'libp2p-lean')];
  const { code, stderr } = await run([], {}, command);
  assert.equal(stderr, 'libp2p-lean: Node.js v18.20.0 is too old; version 20 or newer is needed\n');
  assert.equal(code, 2);
});

test('a package without dist: one line', async (t) => {
  const command = [process.execPath, path.join(emptyPackage(t), 'bin', 'libp2p-lean')];
  const { code, stderr } = await run([], {}, command);
  assert.equal(stderr, 'libp2p-lean: dist/cli.cjs is missing: `npm run build` makes it\n');
  assert.equal(code, 2);
});

test('NODE_QUIC that does not exist: one line', async (t) => {
  if (isBuiltin('node:quic')) return t.skip('this runtime has node:quic');
  const { code, stderr } = await run(['listen'], {
    QUIC_ENGINE: 'node',
    NODE_QUIC: '/nowhere/node',
  });
  assert.equal(stderr, 'libp2p-lean: NODE_QUIC is /nowhere/node, which does not exist\n');
  assert.equal(code, 2);
});

test('QUIC_ENGINE=node uses the node that NODE_QUIC names', {
  ...HANG,
  skip: process.env.NODE_QUIC ? false : 'NODE_QUIC is not set',
}, async (t) => {
  const variables = {
    QUIC_ENGINE: 'node',
    NODE_QUIC: process.env.NODE_QUIC ?? '',
    DEBUG: 'true',
  };
  const listener = start(['listen', '--debug', '/ip4/127.0.0.1/udp/0/quic-v1'], variables);
  t.after(() => listener.dispose());
  const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
  const ping = await run(['ping', '-c', '1', '--debug', address], variables);
  assert.match(ping.stdout, /quic-v1 \(node\)/, ping.stderr);
  assert.match(ping.stderr, /launcher: using \S+ --experimental-quic/);
  assert.doesNotMatch(ping.stderr, /\(node:\d+\)/);
  assert.equal(ping.code, 0);
  listener.kill('SIGTERM');
  assert.equal((await listener.ended).code, 0);
});
