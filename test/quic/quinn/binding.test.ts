/** Where the binary of quinn is looked for, and what is said when it cannot be used. */

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isLeanError } from '../../../src/errors.ts';
import { findQuinn } from '../../../src/quic/quinn/binding.ts';
import { whyNoQuinn } from '../../support/engines.ts';

const BUILT = fileURLToPath(new URL('../../../native/quinn.node', import.meta.url));

/** A checkout without anything in it; what its `src/quic/quinn/binding.ts` is called. */
const checkout = (t: TestContext): { root: string; module: string } => {
  const root = mkdtempSync(path.join(tmpdir(), 'quinn-binding-'));
  t.after(() => rmSync(root, { recursive: true }));
  const module = pathToFileURL(path.join(root, 'src', 'quic', 'quinn', 'binding.ts')).href;
  return { root, module };
};

const write = (file: string, content: string): void => {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
};

const refusal = (module: string): string => {
  try {
    findQuinn(module);
  } catch (error) {
    assert.ok(isLeanError(error, 'ERR_ENGINE_UNAVAILABLE'), String(error));
    assert.ok(!error.message.includes('\n'), error.message);
    return error.message;
  }
  return assert.fail('should have thrown');
};

const platformPackage = (root: string, name: string): string =>
  path.join(root, 'node_modules', '@libp2p-lean', name);

describe('the binary of quinn', () => {
  test('there is none', (t) => {
    const { module } = checkout(t);
    assert.match(refusal(module), /^the engine quinn: no binary for \S+, and .* has built none$/);
  });

  test('it is no library', (t) => {
    const { root, module } = checkout(t);
    write(path.join(root, 'native', 'quinn.node'), 'not ELF');
    assert.match(refusal(module), /^the engine quinn: .*(invalid ELF header|file too short)/);
  });

  test('it is a library of another version, or of something else', (t) => {
    const { root, module } = checkout(t);
    const name = process.platform === 'linux' ? `linux-${process.arch}-gnu` : undefined;
    if (name === undefined) return t.skip('only tried on Linux');
    const folder = platformPackage(root, `quinn-${name}`);
    write(path.join(folder, 'package.json'), JSON.stringify({ main: 'index.js' }));
    write(path.join(folder, 'index.js'), 'exports.INTERFACE = 0;');
    assert.match(refusal(module), /another version/);
  });

  test('what was built in the checkout', { skip: whyNoQuinn ?? false }, (t) => {
    const { root, module } = checkout(t);
    mkdirSync(path.join(root, 'native'));
    copyFileSync(BUILT, path.join(root, 'native', 'quinn.node'));
    assert.equal(typeof findQuinn(module).start, 'function');
    // From the bundle, dist/cli.cjs, which has a path instead of a URL.
    assert.equal(typeof findQuinn(path.join(root, 'dist', 'cli.cjs')).start, 'function');
    const library = path.join(root, 'dist', 'lib', 'quic', 'quinn', 'binding.js');
    assert.equal(typeof findQuinn(pathToFileURL(library).href).start, 'function');
  });

  test('the platform’s package comes first', { skip: whyNoQuinn ?? false }, (t) => {
    if (process.platform !== 'linux') return t.skip('only tried on Linux');
    const { root, module } = checkout(t);
    write(path.join(root, 'native', 'quinn.node'), 'not ELF');
    const folder = platformPackage(root, `quinn-linux-${process.arch}-musl`);
    write(path.join(folder, 'package.json'), JSON.stringify({ main: 'quinn.node' }));
    copyFileSync(BUILT, path.join(folder, 'quinn.node'));
    assert.equal(typeof findQuinn(module).start, 'function');
  });
});
