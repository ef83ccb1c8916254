/** What `npm run build` makes: the bundled command line, on this runtime and others, and the library. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noRedis, startRedis } from '../../interop/redis-server.ts';
import { VERSION } from '../../src/version.ts';
import { run, start } from '../support/participant.ts';

const HANG = { timeout: 60_000 };
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

describe('the package', { timeout: 180_000 }, () => {
  let root: string;
  before(() => {
    // Under the checkout, so that its dependencies are found.
    root = mkdtempSync(path.join(ROOT, 'node_modules', '.package-'));
    execFileSync(process.execPath, ['scripts/build.mjs', path.join(root, 'dist')], { cwd: ROOT });
    for (const name of ['bin', 'package.json']) {
      cpSync(path.join(ROOT, name), path.join(root, name), { recursive: true });
    }
  });
  after(() => rmSync(root, { recursive: true, force: true }));

  const runtimes: [name: string, command: string][] = [
    ['this runtime', process.execPath],
    ['the node on PATH', 'node'],
  ];
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
        TEST_TIMEOUT_SECS: '20',
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

  test('its code cache: made by the first run, used by the next, made anew when damaged', async (t) => {
    const cache = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
    t.after(() => rmSync(cache, { recursive: true }));
    const said = async (): Promise<string> => {
      const launch = [process.execPath, path.join(root, 'bin', 'libp2p-lean')];
      const variables = { NODE_COMPILE_CACHE: cache, DEBUG: 'true' };
      const { stdout, stderr } = await run(['--version'], variables, launch);
      assert.equal(stdout, `${VERSION}\n`);
      return stderr;
    };
    assert.match(await said(), /launcher: no code cache yet/);
    const [, file = ''] = /launcher: code cache (.+)\n/.exec(await said()) ?? [];
    assert.equal(path.dirname(path.dirname(file)), cache);
    writeFileSync(file, readFileSync(file).subarray(0, 1000));
    assert.doesNotMatch(await said(), /code cache \//);
    assert.match(await said(), /launcher: code cache \//);
  });

  test('the library is importable by its name, types included', HANG, () => {
    writeFileSync(
      path.join(root, 'use.mts'),
      [
        "import { createNode, type LeanNode, ping, PING } from 'libp2p-lean';",
        'const node: LeanNode = await createNode();',
        "const address = await node.listen('/ip4/127.0.0.1/udp/0/quic-v1');",
        'const other = await createNode();',
        'const rtt: number = await ping(await other.openStream(await other.dial(address), PING));',
        'console.log(rtt > 0);',
        'await Promise.all([node.close(), other.close()]);',
      ].join('\n'),
    );
    const tsc = path.join(ROOT, 'node_modules/typescript/bin/tsc');
    const flags =
      '--ignoreConfig --strict --target es2023 --module nodenext --skipLibCheck --types node'.split(
        ' ',
      );
    execFileSync(process.execPath, [tsc, ...flags, 'use.mts'], { cwd: root, stdio: 'inherit' });
    const output = execFileSync(process.execPath, ['use.mjs'], { cwd: root, encoding: 'utf8' });
    assert.equal(output, 'true\n');
  });
});
