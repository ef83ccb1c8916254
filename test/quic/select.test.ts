import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isLeanError } from '../../src/errors.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { whyNoQuinn } from '../support/engines.ts';
import { rejection } from '../support/quic-helpers.ts';

const hasNodeQuic = isBuiltin('node:quic');
const isBun = process.versions.bun !== undefined;

describe('selectEngine', () => {
  it('gives quiche when it is asked for', async () => {
    for (const role of ['dialer', 'listener'] as const) {
      const { engine, why } = await selectEngine('quiche', role);
      assert.equal(engine.name, 'quiche');
      assert.equal(why, 'quiche was asked for');
    }
  });

  it('gives node:quic when it is asked for and there, else says why not', async () => {
    for (const role of ['dialer', 'listener'] as const) {
      if (hasNodeQuic && !(isBun && role === 'listener')) {
        assert.equal((await selectEngine('node', role)).engine.name, 'node');
        continue;
      }
      const error = await rejection(selectEngine('node', role));
      assert(isLeanError(error, 'ERR_ENGINE_UNAVAILABLE'), String(error));
      assert.match(error.message, hasNodeQuic ? /self-signed/ : /does not have it/);
    }
  });

  it('takes with auto quinn, else node:quic where it can do the role, else quiche', async () => {
    for (const role of ['dialer', 'listener'] as const) {
      const { engine, why, caution } = await selectEngine('auto', role);
      const second = hasNodeQuic && !(isBun && role === 'listener') ? 'node' : 'quiche';
      assert.equal(engine.name, whyNoQuinn === undefined ? 'quinn' : second);
      assert.match(why, whyNoQuinn === undefined ? /^quinn is here$/ : /quinn/);
      assert(!why.includes('\n'));
      assert.equal(caution !== undefined, engine.name === 'quiche');
    }
  });
});

/** Runs an ES module in a copy of the sources, beside which there is no binary of quinn. */
const withoutQuinn = async (t: TestContext, source: string): Promise<[string, string]> => {
  const root = mkdtempSync(path.join(tmpdir(), 'no-quinn-'));
  t.after(() => rmSync(root, { recursive: true }));
  const here = fileURLToPath(new URL('../..', import.meta.url));
  cpSync(path.join(here, 'src'), path.join(root, 'src'), { recursive: true });
  cpSync(path.join(here, 'package.json'), path.join(root, 'package.json'));
  symlinkSync(path.join(here, 'node_modules'), path.join(root, 'node_modules'));
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', source];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { cwd: root });
  return [stdout, stderr];
};

describe('without a binary of quinn', { skip: isBun }, () => {
  it('takes the next engine, and says why', async (t) => {
    const [stdout] = await withoutQuinn(
      t,
      `const { selectEngine } = await import('./src/quic/select.ts');
      const { engine, why } = await selectEngine('auto', 'listener');
      console.log(engine.name + ': ' + why);
      await selectEngine('quinn', 'dialer').catch((error) => console.log(error.code));`,
    );
    const [, quiche, code] = /^quiche: (.*)\n(\w+)\n$/.exec(stdout) ?? [];
    assert.match(
      quiche ?? '',
      /^the engine quinn: no binary for .*; the engine node \(node:quic\): /,
    );
    assert.equal(code, 'ERR_ENGINE_UNAVAILABLE');
  });

  it('warns, once, when quiche is about to listen beyond loopback', async (t) => {
    const listening = (...addresses: readonly string[]): string => `
      const { createNode } = await import('./src/node/node.ts');
      const node = await createNode();
      for (const address of ${JSON.stringify(addresses)}) await node.listen(address);
      await node.close();`;
    const beyond = '/ip4/0.0.0.0/udp/0/quic-v1';
    const [, warned] = await withoutQuinn(t, listening(beyond, beyond));
    assert.equal(warned.match(/LeanCaution: .*quiche.*\n/g)?.length, 1, warned);
    const [, silent] = await withoutQuinn(t, listening('/ip4/127.0.0.1/udp/0/quic-v1'));
    assert.equal(silent, '');
  });
});
