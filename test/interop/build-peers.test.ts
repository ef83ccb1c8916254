/** The builder of the matrix's peers, and the contract of those that are built on this machine. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { buildPeers } from '../../interop/build-peers.ts';

const BUILDER = join(import.meta.dirname, '../../interop/build-peers.ts');
const TIMEOUT_MS = 60_000;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (command: readonly string[], env: NodeJS.ProcessEnv): Promise<Outcome> =>
  new Promise((resolve, reject) => {
    const [file = '', ...words] = command;
    const child = spawn(file, words, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });

const cache = await mkdtemp(join(tmpdir(), 'libp2p-lean-peers-'));
after(() => rm(cache, { recursive: true, force: true }));

/** The builder in an empty cache, with nothing but `env` in its environment. */
const builder = (words: readonly string[], env: NodeJS.ProcessEnv) =>
  run([process.execPath, BUILDER, ...words], { LIBP2P_LEAN_CACHE: cache, HOME: cache, ...env });

test('without a toolchain each peer is skipped, with one line that names it and why', async () => {
  const { code, stdout, stderr } = await builder([], { PATH: '/nowhere' });
  assert.equal(code, 0, stderr);
  assert.equal(stdout, '');
  const skipped = stderr.split('\n').filter((line) => line.startsWith('skipped '));
  const ids = skipped.map((line) => line.split(/[ :]/)[1]);
  assert.deepEqual(
    ids.sort(),
    (await buildPeers(undefined, () => {}, false)).map(({ id }) => id).sort(),
  );
  for (const line of skipped) assert.match(line, /^skipped \S+: \w+ is not installed/);
});

test('a registry that cannot be reached skips the peer, and leaves no build behind', async (t) => {
  const go = process.env.PATH?.split(':') ?? [];
  const { code, stderr } = await builder(['go-v0.51'], {
    PATH: [...go, dirname(process.execPath)].join(':'),
    GOPROXY: 'http://127.0.0.1:9',
    GOMODCACHE: join(cache, 'go'),
    GOFLAGS: '-modcacherw',
  });
  if (stderr.includes('go is not installed')) return t.skip('go is not installed');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^skipped go-v0\.51: its package registry cannot be reached/m);
  assert.deepEqual(
    (await readdir(cache)).filter((name) => name.startsWith('go-v0.51')),
    [],
  );
});

test('a peer that does not exist is refused', async () => {
  const { code, stderr } = await builder(['go-v9.9'], { PATH: process.env.PATH });
  assert.equal(code, 2);
  assert.match(stderr, /^no peer "go-v9\.9"; there are go-v0\.38, /);
});

const LISTENER = {
  IS_DIALER: 'false',
  TRANSPORT: 'quic-v1',
  TEST_KEY: 'abcd1234',
  REDIS_ADDR: '127.0.0.1:9',
  LISTENER_IP: '127.0.0.1',
  TEST_TIMEOUT_SECS: '1',
};
const TCP = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };

/** What is wrong with the environment, and the exit code that it must give. */
const CONTRACT: readonly (readonly [what: string, env: NodeJS.ProcessEnv, code: number])[] = [
  ['no role', { ...LISTENER, IS_DIALER: '' }, 2],
  ['a role that is no boolean', { ...LISTENER, IS_DIALER: 'maybe' }, 2],
  ['an unknown transport', { ...LISTENER, TRANSPORT: 'carrier-pigeon' }, 2],
  ['tcp without a muxer', { ...LISTENER, ...TCP, MUXER: 'null' }, 2],
  ['no test key', { ...LISTENER, TEST_KEY: '' }, 2],
  ['an address that is none', { ...LISTENER, LISTENER_IP: 'everywhere' }, 2],
  ['a timeout that is none', { ...LISTENER, TEST_TIMEOUT_SECS: 'soon' }, 2],
  ['legacy: an unknown transport', { is_dialer: 'true', transport: 'pigeon' }, 2],
  ['a transport it does not have', { ...LISTENER, TRANSPORT: 'webtransport' }, 127],
  ['a secure channel it does not have', { ...LISTENER, ...TCP, SECURE_CHANNEL: 'plaintext' }, 127],
  ['no Redis', LISTENER, 1],
];

for (const peer of await buildPeers(undefined, () => {}, false)) {
  const reason = 'skipped' in peer ? peer.skipped : false;
  test(`${peer.id} ends with the exit code of the contract`, { skip: reason }, async (t) => {
    if ('skipped' in peer) return;
    for (const [what, env, wanted] of CONTRACT) {
      await t.test(what, async () => {
        const { code, stdout, stderr } = await run(peer.command, {
          PATH: process.env.PATH,
          ...env,
        });
        assert.equal(code, wanted, stderr);
        assert.equal(stdout, '');
        assert.notEqual(stderr, '');
      });
    }
  });
}
