/** What `npm run build` makes: the bundled command line, on this runtime and others. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import { VERSION } from '../../src/version.ts';
import { stagePackage } from '../support/package.ts';
import { run, start, type Variables } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };
/** The version of the `node` on PATH, such as `v20.20.2`, and whether a package runs on it. */
const nodeOnPath = String(spawnSync('node', ['--version']).stdout).trim();
const isTooOld = Number(/^v(\d+)/.exec(nodeOnPath)?.[1]) < 22;

describe('the package', SUITE, () => {
  let root: string;
  before(() => {
    root = stagePackage();
    // As in an image; else its code caches would go to the user's folder.
    mkdirSync(path.join(root, 'dist', '.compile-cache'));
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const runtimes: [name: string, command: string][] = [
    ['this runtime', process.execPath],
    ...(isTooOld ? [] : ([['the node on PATH', 'node']] as [string, string][])),
  ];

  test('on a node that is too old: one line, and 2', { ...HANG, skip: !isTooOld }, async () => {
    const launch = ['node', path.join(root, 'bin', 'libp2p-lean')];
    const { code, stdout, stderr } = await run(['--version'], {}, launch);
    const what = `Node.js ${nodeOnPath} is too old; version 22 or newer is needed`;
    assert.deepEqual([code, stdout, stderr], [2, '', `libp2p-lean: ${what}\n`]);
  });

  test('the library on a node that is too old: an error that says so', {
    ...HANG,
    skip: !isTooOld,
  }, () => {
    const uses: [entry: string, use: string][] = [
      ['index', 'await it.createNode()'],
      ['exports/quic', "await it.selectEngine('quiche', 'dialer')"],
      ['exports/js-libp2p', 'it.quic()'],
    ];
    for (const [entry, use] of uses) {
      const file = path.join(root, 'dist', 'lib', `${entry}.js`);
      const code = `const it = await import('${file}'); ${use};`;
      const { status, stderr } = spawnSync('node', ['--input-type=module', '-e', code], {
        encoding: 'utf8',
      });
      const what = `LeanError: Node ${nodeOnPath} is too old; version 22 or newer is needed`;
      assert.ok(stderr.includes(what), stderr);
      assert.equal(status, 1);
    }
  });

  test('a suite that the package does not have: where it is, and 2', HANG, async () => {
    const launch = [process.execPath, path.join(root, 'bin', 'libp2p-lean')];
    rmSync(path.join(root, 'dist', 'suites.cjs'), { force: true }); // as npm pack leaves it out
    const { code, stdout, stderr } = await run(['kad-dht'], {}, launch);
    const where = 'a checkout and the image libp2p-lean:kad-dht have it';
    assert.deepEqual(
      [code, stdout, stderr],
      [2, '', `libp2p-lean: kad-dht is not in this package; ${where}\n`],
    );
  });

  for (const [name, command] of runtimes) {
    test(`both roles on ${name}`, { ...HANG, skip: noRedis }, async (t) => {
      const redis = await startRedis();
      t.after(() => redis.stop());
      const launch = [command, path.join(root, 'bin', 'libp2p-lean')];
      const variables = (isDialer: boolean) => ({
        IS_DIALER: String(isDialer),
        TRANSPORT: 'quic-v1',
        LISTENER_IP: '127.0.0.1',
        REDIS_ADDR: redis.address,
        TEST_KEY: 'package',
        TEST_TIMEOUT_SECS: '50',
      });
      const listener = start([], variables(false), launch);
      t.after(() => listener.dispose());
      const { code, stdout, stderr } = await run([], variables(true), launch);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /^latency:\n/);
      listener.kill('SIGTERM');
      const ended = await listener.ended;
      assert.deepEqual([ended.code, ended.stdout, ended.stderr], [0, '', '']);
    });

    test(`its commands on ${name}`, HANG, async () => {
      const launch = [command, path.join(root, 'bin', 'libp2p-lean')];
      assert.equal((await run(['--version'], {}, launch)).stdout, `${VERSION}\n`);
      const wrong = await run(['ping', 'x'], { DEBUG: '' }, launch);
      assert.equal(wrong.code, 2);
    });
  }

  for (const [name, command] of runtimes) {
    test(`its code cache on ${name}: made, used, made anew when damaged`, HANG, async (t) => {
      const cache = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
      t.after(() => rmSync(cache, { recursive: true }));
      const said = async (args = ['--version'], code = 0): Promise<string> => {
        const launch = [command, path.join(root, 'bin', 'libp2p-lean')];
        const variables = { NODE_COMPILE_CACHE: cache, DEBUG: 'true' };
        const outcome = await run(args, variables, launch);
        assert.equal(outcome.code, code);
        return outcome.stderr;
      };
      const files = (): string[] =>
        readdirSync(path.dirname(file)).filter((it) => it.startsWith('libp2p-lean-'));
      assert.match(await said(), /launcher: no code cache yet/);
      const [, file = ''] = /launcher: code cache (.+)\n/.exec(await said()) ?? [];
      assert.equal(path.dirname(path.dirname(file)), cache);
      writeFileSync(file, readFileSync(file).subarray(0, 1000));
      assert.doesNotMatch(await said(), /code cache \//);
      assert.match(await said(), /launcher: code cache \//);
      assert.equal(files().length, 1);
      // Another use has another one, but not a run that failed.
      assert.match(await said(['ping'], 2), /launcher: no code cache yet/);
      assert.equal(files().length, 1);
      assert.match(await said(['ping', '--help']), /launcher: no code cache yet/);
      assert.match(await said(['ping', '--help']), /launcher: code cache \S+-ping\n/);
      assert.equal(files().length, 2);
      // That of another bundle goes when it is old.
      const [old, young] = ['0123456789abcdef', 'fedcba9876543210'].map((id) =>
        path.join(path.dirname(file), `libp2p-lean-${id}-ping`),
      );
      for (const it of [old, young]) writeFileSync(it ?? '', '');
      utimesSync(old ?? '', 1, 1);
      await said(['listen', '--help']);
      assert.ok(!existsSync(old ?? ''));
      assert.ok(existsSync(young ?? ''));
    });

    test(`its code cache on ${name}: grows with what it is used for`, {
      ...HANG,
      skip: noRedis,
    }, async (t) => {
      const redis = await startRedis();
      const cache = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
      t.after(async () => {
        rmSync(cache, { recursive: true });
        await redis.stop();
      });
      const launch = [command, path.join(root, 'bin', 'libp2p-lean')];
      const variables = {
        TRANSPORT: 'tcp',
        MUXER: 'yamux',
        LISTENER_IP: '127.0.0.1',
        REDIS_ADDR: redis.address,
        TEST_TIMEOUT_SECS: '50',
        NODE_COMPILE_CACHE: cache,
      };
      const meet = async (TEST_KEY: string, SECURE_CHANNEL: string): Promise<void> => {
        const all = { ...variables, TEST_KEY, SECURE_CHANNEL };
        const listener = start([], { ...all, IS_DIALER: 'false' }, launch);
        t.after(() => listener.dispose());
        const { code, stderr } = await run([], { ...all, IS_DIALER: 'true' }, launch);
        assert.deepEqual([code, stderr], [0, '']);
        listener.kill('SIGTERM');
        assert.equal((await listener.ended).code, 0);
      };
      /** What each cache says it is for, and when it was written. */
      const caches = (): [role: string | undefined, uses: string, written: number][] =>
        (readdirSync(cache, { recursive: true }) as string[])
          .filter((file) => file.includes('libp2p-lean-'))
          .sort()
          .map((it) => {
            const file = path.join(cache, it);
            const uses = /\["tls-yamux"[^\]]*\]|\["noise-yamux"[^\]]*\]/.exec(
              readFileSync(file, 'latin1'),
            );
            return [/-(\w+)-tcp$/.exec(it)?.[1], uses?.[0] ?? '', statSync(file).mtimeMs];
          });
      await meet('one', 'noise');
      await meet('two', 'tls');
      const grown = caches();
      const both = '["noise-yamux","tls-yamux"]';
      assert.deepEqual(
        grown.map(([role, uses]) => [role, uses]),
        [
          ['dialer', both],
          ['listener', both],
        ],
      );
      await meet('three', 'noise');
      assert.deepEqual(caches(), grown);
    });

    test(`its code cache on ${name}: with the user, or none`, HANG, async (t) => {
      const [bare, user] = ['bare-', 'user-'].map((it) => mkdtempSync(path.join(tmpdir(), it)));
      const [copy, home] = [bare ?? '', user ?? ''];
      t.after(() => {
        for (const it of [copy, home]) rmSync(it, { recursive: true });
      });
      for (const it of ['bin', 'package.json', 'dist/cli.cjs']) {
        cpSync(path.join(root, it), path.join(copy, it), { recursive: true });
      }
      const launch = [command, path.join(copy, 'bin', 'libp2p-lean')];
      const said = async (variables: Variables): Promise<string> => {
        const outcome = await run(['--version'], { ...variables, DEBUG: 'true' }, launch);
        assert.equal(outcome.stdout, `${VERSION}\n`);
        return outcome.stderr;
      };
      await said({ XDG_CACHE_HOME: home });
      const [, file = ''] = /code cache (.+)\n/.exec(await said({ XDG_CACHE_HOME: home })) ?? [];
      assert.ok(file.startsWith(`${home}/libp2p-lean/code/`), file);
      await said({ HOME: home });
      assert.match(await said({ HOME: home }), /launcher: code cache \S+\/\.cache\/libp2p-lean\//);
      const off = { HOME: home, NODE_DISABLE_COMPILE_CACHE: '1' };
      assert.doesNotMatch(await said(off), /code cache/);
      // No place for it: it runs all the same.
      const nowhere = { XDG_CACHE_HOME: path.join(copy, 'package.json') };
      assert.match(await said(nowhere), /launcher: the code cache is not kept: /);
    });
  }
});
